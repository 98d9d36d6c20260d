"""The title of a report, and where its numbers are from: cells, command, commit, versions and machines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from capsbench.measures.speed.spec import SPEED
from capsbench.presenting.words import shorten_name
from capsbench.records.record import Record, Run, Training
from capsbench.registry import measure_name

MACHINE_FACTS = ("cpu", "cores", "gpu", "driver", "cuda", "threads", "backend")
SOFTWARE = ("capsbench", "python", "torch", "triton")

STATES = {"finished": "finished", "trained": "trained and yet to be measured in full", "failed": "failed"}
"""Status of a record -> its words."""

MOST_COMMANDS = 5
"""Runs and commands that a report names; of more, the latest."""

MOST_NAMED = 3
"""Routings or data sets that a title names; it gives the count of more."""


def spell_title(records: Sequence[Record]) -> str:
    """Returns the title: networks, data sets and routings, such as ``Capsule networks on digits: em routing``."""
    routings = {record.cell.routing for record in records if record.cell.routing}
    names = _spell_names(routings, "routings")
    subject = "" if not routings else f": {names}" if len(routings) > MOST_NAMED else f": {names} routing"
    kind = "Capsule networks" if routings else "Networks"
    return f"{kind} on {_spell_names([record.cell.dataset for record in records], 'data sets')}{subject}"


def _spell_names(names: Iterable[str], many: str) -> str:
    """Returns the distinct names as a phrase, or their count where there are many."""
    distinct = sorted(set(map(shorten_name, names)))
    if len(distinct) > MOST_NAMED:
        return f"{len(distinct)} {many}"
    return " and ".join(filter(None, [", ".join(distinct[:-1]), distinct[-1]])) if distinct else ""


def describe_origin(
    records: list[Record], runs: Sequence[Run], where: Sequence[str] = ()
) -> list[tuple[str, list[str]]]:
    """Returns the facts on some records: a term and its lines, several where the records differ.

    Args:
        runs: the runs that they are from, oldest first.
        where: the conditions that chose them.
    """
    counts = {status: sum(record.status == status for record in records) for status in STATES}
    cells = ", ".join(f"{count} {STATES[status]}" for status, count in counts.items() if count)
    commits = {(facts.get("commit"), facts.get("dirty")) for facts in (record.provenance for record in records)}
    trainings = [record.training for record in records if record.training]
    facts = {
        "cells": [cells] if cells else [],
        "chosen by": list(where),
        "run": _spell_runs(runs),
        "command": list(dict.fromkeys(run.command for run in runs))[-MOST_COMMANDS:],
        "trained": _spell_period(trainings),
        "machine": _list_values(records, MACHINE_FACTS),
        "software": _list_values(records, SOFTWARE),
        "commit": [
            f"{commit}{' with uncommitted changes' if dirty else ''}"
            for commit, dirty in sorted(commits, key=str)
            if commit
        ],
    }
    return [(term, lines) for term, lines in facts.items() if lines]


def _spell_runs(runs: Sequence[Run]) -> list[str]:
    """Returns the names of runs in one line, with the parts of a plan that were run; of many, their number and the latest."""
    names = [run.name + (f" (shard {run.shard})" if run.shard else "") for run in runs]
    if len(names) > MOST_COMMANDS:
        return [f"{len(names)} runs, the latest {names[-1]}"]
    return [", ".join(names)] if names else []


def find_left_out(runs: Sequence[Run], records: Iterable[Record]) -> dict[str, str]:
    """Returns data set or measure -> why a run left it out, of those of which no other run has a record."""
    reasons = {name: reason for run in runs for name, reason in run.left_out.items()}
    if not reasons:
        return {}
    known = {record.cell.dataset for record in records}
    known |= {measure_name(spec) for record in records for spec in record.measures}
    return {name: reason for name, reason in reasons.items() if name not in known}


def _spell_period(trainings: Iterable[Training]) -> list[str]:
    """Returns the first start and the last end of trainings in a line, such as ``2026-11-22 23:28:24 to 23:31:46 UTC``."""
    parts = [(part.started, part.seconds) for training in trainings for part in (training.segments or (training,))]
    starts, ends = [], []
    for started, seconds in parts:
        with suppress(ValueError, OverflowError):
            start = datetime.fromisoformat(started or "").astimezone(UTC)  # older records have none
            ends.append(start + timedelta(seconds=seconds or 0))
            starts.append(start)
    if not starts:
        return []
    first, last = min(starts), max(ends)
    same_day = first.date() == last.date()
    return [f"{first:%Y-%m-%d %H:%M:%S} to {last.strftime('%H:%M:%S' if same_day else '%Y-%m-%d %H:%M:%S')} UTC"]


def count_machines(records: list[Record]) -> int:
    """Returns the number of different processors that timed the finished records."""
    timed = [record.find_measurement(SPEED) or record for record in records if record.status == "finished"]
    return len({(source.provenance.get("cpu"), source.provenance.get("gpu")) for source in timed})


def _list_values(records: list[Record], names: Iterable[str]) -> list[str]:
    facts = [_collect_facts(record) for record in records]
    values = {name: _join_distinct(fact.get(name) for fact in facts) for name in names}
    line = "; ".join(f"{name} {text}" for name, text in values.items() if text)
    return [line] if line else []


def _collect_facts(record: Record) -> dict[str, object]:
    """Returns the facts on the machine and the software that trained a cell."""
    backends = record.training.backends if record.training else []
    return {**record.provenance, "threads": record.cell.threads, "backend": ", ".join(backends) or None}


def _join_distinct(values: Iterable[object]) -> str:
    return ", ".join(sorted({str(value) for value in values if value is not None}))
