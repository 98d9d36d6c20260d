"""Notes of runs: which cells each `capsbench run` was asked for, and which run of a folder is the latest.

A note is ``runs/NUMBER-TOKEN.json``. The number counts the runs of a folder: the latest run is the one with the highest number,
whatever a clock says. Notes of one number, as machines leave them that share a run, are one run, and the token keeps their files
apart.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from capsbench.errors import Kind, UsageError
from capsbench.records import file
from capsbench.records.cell import Cell
from capsbench.records.disk import read_file, write_file
from capsbench.records.parse import UnfitError, parse_json
from capsbench.records.record import MOST_RUNS, Record, Run

_RUN = TypeAdapter(Run)

_NAME = re.compile(r"(\d{6,9})-[0-9a-f]{8}")  # up to MOST_RUNS

AGAIN = "the same `capsbench run` leaves another"


class Notes(NamedTuple):
    """The runs that are noted in a folder, oldest first; and file -> a line, for each file that is not such a note."""

    runs: list[Run]
    faults: dict[Path, str]


def write_note(
    folder: Path,
    noted: Notes,
    cells: Iterable[Cell],
    command: str,
    suite: str | None = None,
    left_out: Mapping[str, str] | None = None,
    *,
    folders: Iterable[Path] = (),
    anew: Iterable[str] = (),
    commit: str | None = None,
) -> Run:
    """Notes a new run; for the arguments see `Run`.

    Args:
        folder: of the notes.
        noted: what is there.

    Raises:
        UsageError: no number is left for it.
    """
    paths = [*folder.glob("*.json")]
    # A damaged note had a number too: that of its name, and before there were such names one of as many as there are files.
    sequence = max([len(paths), *map(_number_of, paths), *(run.sequence or 0 for run in noted.runs)]) + 1
    if sequence > MOST_RUNS:
        problem = f"a note there has the highest number that a run can have, {MOST_RUNS}"
        raise UsageError(
            Kind.DAMAGED, problem, file=folder, value=MOST_RUNS, expected="delete it, or use another folder"
        )
    run = Run(
        name=f"{sequence:06}",
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        cells=[cell.id for cell in cells],
        suite=suite,
        left_out=dict(left_out or {}),
        sequence=sequence,
        folders=sorted(map(str, folders)),
        anew=[*anew],
        commit=commit,
    )
    path = folder / f"{run.name}-{secrets.token_hex(4)}.json"
    write_file(path, file.seal({"schema": file.SCHEMA, **asdict(run)}))
    return run


def read_notes(folder: Path, check_whole: Callable[[Path, bytes], None]) -> Notes:
    """The runs noted in a folder, oldest first, and a line for each file that is not such a note.

    Args:
        check_whole: raises UsageError for a file that was changed since it was written.
    """
    notes, faults = [], {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = read_file(path)
            if _number_of(path):
                file.check_seal(path, content)  # a note of before there were seals has no number in its name
            check_whole(path, content)
            notes.append(parse_json(_RUN, content))
        except OSError as error:
            faults[path] = f"{path}: cannot be read: {error.strerror}"
        except UsageError as error:
            faults[path] = f"{path}: {error.problem}; {AGAIN}"
        except UnfitError as error:
            faults[path] = f"{path}: not a whole note of a run ({error}); {AGAIN}"
    return Notes(_join_notes(notes), faults)


def _join_notes(notes: Iterable[Run]) -> list[Run]:
    """The runs of some notes, in the order of their numbers; those of schema 1, which have none, come first."""
    runs: list[list[Run]] = []
    for note in sorted(notes, key=lambda note: note.sequence or 0):
        if runs and note.sequence is not None and note.sequence == runs[-1][0].sequence:
            runs[-1].append(note)
        else:
            runs.append([note])
    return [shares[0] if len(shares) == 1 else _union(shares) for shares in runs]


def _union(shares: Sequence[Run]) -> Run:
    """The run of which several machines did a share each."""

    def all_of(lists: Iterable[Iterable[str]]) -> list[str]:
        return list(dict.fromkeys(name for names in lists for name in names))

    return replace(
        shares[0],
        started=min(share.started for share in shares),
        command="; ".join(all_of([share.command] for share in shares)),
        cells=all_of(share.cells for share in shares),
        left_out={name: reason for share in shares for name, reason in share.left_out.items()},
        folders=all_of(share.folders for share in shares),
        anew=all_of(share.anew for share in shares),
        commit=shares[0].commit if len({share.commit for share in shares}) == 1 else None,
    )


def latest_run(noted: Notes, flag: str) -> Run | None:
    """The latest run of a folder; None where none is noted.

    Raises:
        UsageError: the note that cannot be read may be that of the latest run.
    """
    latest = noted.runs[-1] if noted.runs else None
    number = 0 if latest is None else latest.sequence or 0
    newer = [path for path in noted.faults if _number_of(path) >= number]
    if newer:
        raise UsageError(
            Kind.DAMAGED,
            f"the latest run is not known: {noted.faults[newer[-1]]}",
            flag=flag,
            file=newer[-1].parent.parent,
            value=newer[-1].name,
        )
    return latest


def records_of(run: Run, records: Iterable[Record]) -> tuple[list[Record], list[str]]:
    """Those of some records that are of the cells of a run, and the identities of its cells that have none."""
    by_name = {name: record for record in records for name in (record.cell.id, *record.aliases)}
    found = {by_name[cell].cell.id: by_name[cell] for cell in run.cells if cell in by_name}
    return list(found.values()), [cell for cell in run.cells if cell not in by_name]


def left_to_make_anew(runs: Iterable[Run], records: Iterable[Record]) -> list[Record]:
    """Those of some records whose networks a fresh run was to train anew, and neither it nor a later run has."""
    asked = {cell: run.sequence or 0 for run in runs for cell in run.anew}
    return [
        record
        for record in records
        if record.training is not None
        and max((asked.get(name, 0) for name in (record.cell.id, *record.aliases)), default=0)
        > (record.training.run or 0)
    ]


def _number_of(path: Path) -> int:
    """The number of a run in the name of its file; 0 where the file has a name of before there were such."""
    name = _NAME.fullmatch(path.stem)
    return int(name[1]) if name else 0
