"""Spells the commands that run the cells of a report again, from the request on record with each cell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from capsbench.planning.contender_defaults import title_cells
from capsbench.planning.request import BASELINE_FLAG, BASELINE_SIZE_FLAG, MEASURE_FLAG, spell_flag
from capsbench.records.cell import fields_of, flag_of
from capsbench.records.declaration import Role
from capsbench.records.record import Record, Run
from capsbench.records.runs import remove_flags

FIRST = [*map(flag_of, fields_of(Role.NETWORK)), *map(flag_of, fields_of(Role.TASK))]
LAST = [*map(flag_of, fields_of(Role.SEED)), MEASURE_FLAG, *fields_of(Role.MACHINE), BASELINE_FLAG, BASELINE_SIZE_FLAG]
"""The flags that a command begins and ends with; the others stand between."""


class Again(NamedTuple):
    """The command that runs some cells again, empty if there is none, and a note on it."""

    command: str
    note: str = ""


class Failure(NamedTuple):
    """Cells of one contender that failed for one reason."""

    title: str
    seeds: list[int]
    reason: str
    again: Again


class Repeats(NamedTuple):
    """The commands of a report: contender -> that of its trained cells; and those of its failures."""

    contenders: dict[str, Again]
    failures: list[Failure]


def group_records(records: Sequence[Record]) -> Mapping[str, Sequence[Record]]:
    """Returns contender (`Cell.contender`) -> the records of its cells, which differ only in their seed."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.cell.contender, []).append(record)
    return groups


def find_repeats(records: Sequence[Record], runs: Sequence[Run] = ()) -> Repeats:
    """Returns the commands that make some records again.

    Args:
        runs: those of the folder, oldest first. Records of schema 1 have no request, and get the command of their run.
    """
    contenders: dict[str, Again] = {}
    failed: dict[tuple[str, str], list[Record]] = {}
    cells = {record.cell.id for record in records}
    for contender, group in group_records(records).items():
        if trained := [record for record in group if record.training is not None]:
            contenders[contender] = _repeat(trained, cells, runs)
        for record in group:
            if record.reason:
                failed.setdefault((contender, " ".join(record.reason.split())), []).append(record)
    titles = title_cells(record.cell for record in records) if failed else {}
    failures = [
        Failure(
            titles[group[0].cell.id].rpartition(", seed ")[0],
            sorted(record.cell.seed for record in group),
            reason,
            _repeat(group, cells, runs),
        )
        for (_, reason), group in failed.items()
    ]
    return Repeats(contenders, failures)


def _repeat(records: Sequence[Record], cells: set[str], runs: Sequence[Run]) -> Again:
    """Returns the command for some records of one contender.

    Args:
        cells: the identities of all cells of the report.
    """
    first = next((record for record in records if record.request), records[0])
    if not first.request:
        return _repeat_run(first, runs)
    seeds = sorted(record.cell.seed for record in records)
    request: dict[str, Any] = {**first.request, "seeds": ",".join(map(str, seeds))}
    # The command names what the machine would set, so that it makes the same cells on another machine.
    request["device"] = first.cell.device
    if first.cell.size == "paper":  # a network of another size has one thread by default on every machine
        request["threads"] = first.cell.threads
    notes = []
    if request.get(BASELINE_FLAG, "none") != "none":
        notes.append("also runs its capsule network")
    between = [spec for spec, taken in first.measures.items() if any(row.condition in cells for row in taken.rows)]
    if between:
        notes.append(f"{', '.join(between)} is measured between the networks of one run: run them together")
    try:
        return Again(spell_command(request), "; ".join(notes))
    except _UnspellableError as error:
        return Again("", str(error))


def _repeat_run(record: Record, runs: Sequence[Run]) -> Again:
    """Returns the command of the latest run that made a record, without its folder."""
    names = {record.cell.id, *record.aliases}
    run = next((run for run in reversed(runs) if names.intersection(run.cells)), None)
    if run is None or not run.command.startswith("capsbench run"):
        return Again("", "no command is on record")
    return Again(remove_flags(run.command, "out", "shard"), "the command of the whole run")


def spell_command(request: Mapping[str, Any]) -> str:
    """Spells a request as `capsbench run`; its names are those of flags in Python, each with one value or text."""
    names = [name for name in FIRST if name in request]
    names += [name for name in request if name not in FIRST and name not in LAST]
    names += [name for name in LAST if name in request]
    words = [word for name in names for word in (spell_flag(name), _spell_value(name, request[name]))]
    return shlex.join(["capsbench", "run", *words])


def _spell_value(name: str, value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if not text or ("," in text and name not in ("seeds", "measure")) or text.startswith("--"):
        raise _UnspellableError(f"{name}={text!r} cannot be typed on the command line; use capsbench.run in Python")
    return text


class _UnspellableError(ValueError):
    """Raised for a value that the command line cannot express."""
