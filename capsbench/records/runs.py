"""Notes of runs: the cells of each `capsbench run`, and the latest run of a folder.

A note is ``runs/NUMBER-TOKEN.json``. The number counts the runs of a folder: the latest run has the highest number, whatever the
clocks of machines say. Machines that share a run write notes of one number, which are joined; the token makes their file names
different. `capsbench.merging` says what numbers mean in a folder that was merged.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
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

AGAIN = "repeat that `capsbench run` to write it again"


class Notes(NamedTuple):
    """The runs noted in a folder, oldest first; and file -> a line, for each file that is not a readable note."""

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
    data: Iterable[str] = (),
    anew: Iterable[str] = (),
    commit: str | None = None,
    shard: str | None = None,
    decides: Iterable[str] = (),
) -> Run:
    """Writes the note of a new run; `Run` explains the other arguments.

    Args:
        folder: the folder of the notes.
        noted: its earlier notes.

    Raises:
        UsageError: the highest number has been used.
    """
    paths = [*folder.glob("*.json")]
    # A damaged note counts too: by the number in its name, or, if it is older than such names, by the count of files.
    sequence = max([len(paths), *map(_number_of, paths), *(run.sequence or 0 for run in noted.runs)]) + 1
    if sequence > MOST_RUNS:
        problem = f"a note has the highest number that a run can have, {MOST_RUNS}"
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
        data=sorted(data),
        anew=[*anew],
        commit=commit,
        shard=shard,
        decides=[*decides],
    )
    write_file(folder / f"{run.name}-{secrets.token_hex(4)}.json", to_bytes(run))
    return run


def to_bytes(run: Run) -> bytes:
    """Returns the content of a note's file."""
    return file.seal_json({"schema": file.SCHEMA, **asdict(run)})


def repeat_note(path: Path, note: Run, sequence: int) -> tuple[str, Run]:
    """Returns the name of a file and the note in it, by which a run goes on under a higher number; it trains nothing anew.

    Args:
        path: the file of the note; its token stays, so that the same repetition has the same name.
    """
    token = path.stem[-8:] if _number_of(path) else hashlib.sha256(path.stem.encode()).hexdigest()[:8]
    name = f"{sequence:06}"
    return f"{name}-{token}.json", replace(note, name=name, sequence=sequence, anew=[])


def read_notes(folder: Path, check_whole: Callable[[Path, bytes], None]) -> Notes:
    """Reads the notes of a folder, and joins those of one number; ``check_whole`` is as in `read_note_files`."""
    notes, faults = read_note_files(folder, check_whole)
    return Notes(_join_notes(notes.values()), faults)


def read_note_files(
    folder: Path, check_whole: Callable[[Path, bytes], None]
) -> tuple[dict[Path, Run], dict[Path, str]]:
    """Reads the files of notes one by one.

    Args:
        check_whole: raises UsageError for a file that was changed after it was written.

    Returns:
        File -> note; and file -> a line, for each file that is not a readable note.
    """
    notes, faults = {}, {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = read_file(path)
            if _number_of(path):
                file.check_seal(path, content)  # notes older than seals have no number in their names
            check_whole(path, content)
            notes[path] = parse_json(_RUN, content)
        except OSError as error:
            faults[path] = f"{path}: cannot be read: {error.strerror}"
        except UsageError as error:
            faults[path] = f"{path}: {error.problem}; {AGAIN}"
        except UnfitError as error:
            faults[path] = f"{path}: not a whole note of a run ({error}); {AGAIN}"
    return notes, faults


def _join_notes(notes: Iterable[Run]) -> list[Run]:
    """Joins notes of one number; runs are sorted by number, those of schema 1, which have none, first."""
    runs: list[list[Run]] = []
    for note in sorted(notes, key=lambda note: note.sequence or 0):
        if runs and note.sequence is not None and note.sequence == runs[-1][0].sequence:
            runs[-1].append(note)
        else:
            runs.append([note])
    return [shares[0] if len(shares) == 1 else _join_shares(shares) for shares in runs]


def _join_shares(shares: Sequence[Run]) -> Run:
    """Joins the notes of machines that shared a run."""

    def all_of(lists: Iterable[Iterable[str]]) -> list[str]:
        return list(dict.fromkeys(name for names in lists for name in names))

    commands, shards = all_of([share.command] for share in shares), {share.shard for share in shares}
    is_whole = _are_all_shards(shards)
    if is_whole:
        commands = all_of([remove_flags(command, "shard")] for command in commands)
    if is_whole and len(commands) > 1:  # each machine may have had a folder of its own
        commands = all_of([remove_flags(command, "out")] for command in commands)
    return replace(
        shares[0],
        started=min(share.started for share in shares),
        command="; ".join(commands),
        cells=all_of(share.cells for share in shares),
        left_out={name: reason for share in shares for name, reason in share.left_out.items()},
        folders=all_of(share.folders for share in shares),
        data=all_of(share.data for share in shares),
        anew=all_of(share.anew for share in shares),
        commit=shares[0].commit if len({share.commit for share in shares}) == 1 else None,
        shard=None if is_whole or None in shards else ", ".join(sorted(filter(None, shards))),
    )


def _are_all_shards(shards: Iterable[str | None]) -> bool:
    """Returns true for the names of all parts of one plan, such as ``1/2`` and ``2/2``."""
    parts = [(shard or "").split("/") for shard in shards]
    counts = {part[-1] for part in parts}
    return {part[0] for part in parts} == {str(1 + index) for index in range(len(parts))} and counts == {
        str(len(parts))
    }


def remove_flags(command: str, *names: str) -> str:
    """Returns a command as typed without some flags that take a value; names are those in Python."""
    try:
        words = shlex.split(command)
    except ValueError:  # a note may come from anywhere
        return command
    flags = {f"--{name}" for name in names}
    kept = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if before not in flags and word.partition("=")[0] not in flags
    ]
    return command if kept == words else shlex.join(kept)


def latest_run(noted: Notes, flag: str) -> Run | None:
    """Returns the latest run of a folder; None if there is no note.

    Raises:
        UsageError: an unreadable note may be that of the latest run.
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


def records_of(runs: Iterable[Run], records: Iterable[Record]) -> tuple[list[Record], list[str]]:
    """Returns the records of the cells of some runs, and the identities of their cells without a record."""
    by_name = {name: record for record in records for name in (record.cell.id, *record.aliases)}
    cells = list(dict.fromkeys(cell for run in runs for cell in run.cells))
    of_runs = {by_name[cell].cell.id: by_name[cell] for cell in cells if cell in by_name}
    return list(of_runs.values()), [cell for cell in cells if cell not in by_name]


def find_left_to_retrain(runs: Iterable[Run], records: Iterable[Record]) -> list[Record]:
    """Returns the records whose networks a fresh run was to train again, and no run since has."""
    asked = {cell: run.sequence or 0 for run in runs for cell in run.anew}
    return [
        record
        for record in records
        if record.training is not None
        and max((asked.get(name, 0) for name in (record.cell.id, *record.aliases)), default=0)
        > (record.training.run or 0)
    ]


def _number_of(path: Path) -> int:
    """Returns the number of a run from its file's name; 0 for an old name without a number."""
    name = _NAME.fullmatch(path.stem)
    return int(name[1]) if name else 0
