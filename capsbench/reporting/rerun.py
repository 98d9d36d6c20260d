"""How the cells of a report are run again: the command of each contender, spelled from what was asked for."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from capsbench.planning.contender_defaults import title_cells
from capsbench.planning.request import BASELINE_FLAG, BASELINE_SIZE_FLAG, MEASURE_FLAG, spelled
from capsbench.records.cell import fields_of, flag_of
from capsbench.records.declaration import Role
from capsbench.records.record import Record, Run

FIRST = [*map(flag_of, fields_of(Role.NETWORK)), *map(flag_of, fields_of(Role.TASK))]
LAST = [*map(flag_of, fields_of(Role.SEED)), MEASURE_FLAG, *fields_of(Role.MACHINE), BASELINE_FLAG, BASELINE_SIZE_FLAG]
"""The flags that a command begins and ends with; the others stand between."""

Groups = Mapping[str, Sequence[Record]]
"""Contender (`Cell.contender`) -> the records of its cells, which differ in nothing but their seed."""


class Again(NamedTuple):
    """How cells are run again: a command, empty where there is none, and what there is to know beside it."""

    command: str
    note: str = ""


class Failure(NamedTuple):
    """Cells that failed alike: what they are, why, and how they are run again."""

    title: str
    seeds: list[int]
    reason: str
    again: Again


class Repeats(NamedTuple):
    """How the cells of each contender are run again that have not failed, and those that have."""

    contenders: dict[str, Again]
    failures: list[Failure]


def group_records(records: Sequence[Record]) -> Groups:
    """The records of each contender."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.cell.contender, []).append(record)
    return groups


def find_repeats(records: Sequence[Record], runs: Sequence[Run] = ()) -> Repeats:
    """How some records are made again.

    Args:
        runs: those of the folder, oldest first. Records of schema 1 have the command of their run, for want of a request.
    """
    contenders: dict[str, Again] = {}
    alike: dict[tuple[str, str], list[Record]] = {}
    cells = {record.cell.id for record in records}
    for name, own in group_records(records).items():
        whole = [record for record in own if record.training is not None]
        if whole:
            contenders[name] = _again(whole, cells, runs)
        for record in own:
            if record.reason:
                alike.setdefault((name, " ".join(record.reason.split())), []).append(record)
    titles = title_cells(record.cell for record in records) if alike else {}
    failures = [
        Failure(
            titles[failed[0].cell.id].rpartition(", seed ")[0],
            sorted(record.cell.seed for record in failed),
            reason,
            _again(failed, cells, runs),
        )
        for (_, reason), failed in alike.items()
    ]
    return Repeats(contenders, failures)


def _again(records: Sequence[Record], cells: set[str], runs: Sequence[Run]) -> Again:
    """How the records of one contender are made again."""
    first = next((record for record in records if record.request), records[0])
    if not first.request:
        return _of_run(first, runs)
    request: dict[str, Any] = {**first.request, "seeds": ",".join(str(seed) for seed in _seeds(records))}
    # The command names what the machine would set, so that it makes the same cells on another machine.
    request["device"] = first.cell.device
    if first.cell.size == "paper":  # a network of another size has one thread by default on every machine
        request["threads"] = first.cell.threads
    notes = []
    if request.get("baseline", "none") != "none":
        notes.append("runs the capsule network as well beside which it stands")
    between = [spec for spec, found in first.measures.items() if any(row.condition in cells for row in found.rows)]
    if between:
        notes.append(f"{', '.join(between)} is measured between the networks of one run: for it, run them together")
    try:
        return Again(spell_command(request), "; ".join(notes))
    except _NotSayableError as error:
        return Again("", str(error))


def _seeds(records: Sequence[Record]) -> list[int]:
    return sorted(record.cell.seed for record in records)


def _of_run(record: Record, runs: Sequence[Run]) -> Again:
    """The command of the latest run that made a record, without its folder."""
    names = {record.cell.id, *record.aliases}
    run = next((run for run in reversed(runs) if names.intersection(run.cells)), None)
    if run is None or not run.command.startswith("capsbench run"):
        return Again("", "no command is on record")
    words = shlex.split(run.command)
    if "--out" in words:
        place = words.index("--out")
        del words[place : place + 2]
    return Again(shlex.join(words), "the command of the whole run")


def spell_command(request: Mapping[str, Any]) -> str:
    """The `capsbench run` that asks for what a request holds: names of flags in Python, each with one value or text."""
    names = [name for name in FIRST if name in request]
    names += [name for name in request if name not in FIRST and name not in LAST]
    names += [name for name in LAST if name in request]
    words = [word for name in names for word in (spelled(name), _text(name, request[name]))]
    return shlex.join(["capsbench", "run", *words])


def _text(name: str, value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if not text or ("," in text and name not in ("seeds", "measure")) or text.startswith("--"):
        raise _NotSayableError(f"{name}={text!r} cannot be said on the command line; use capsbench.run in Python")
    return text


class _NotSayableError(ValueError):
    """A value that the command line has no way to say."""
