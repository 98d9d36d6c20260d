"""Prints the outcome of `capsbench run` and `capsbench measure`."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer

from capsbench.cli.console import print_line, print_warning
from capsbench.cli.shell.interrupt import describe_end
from capsbench.errors import EXIT_FAILED, EXIT_INTERRUPTED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from capsbench.records.record import Record
    from capsbench.records.store import Store
    from capsbench.running.outcome import Outcome, Waiting

MOST_WAITING = 20
"""The most waiting contenders that are listed; JSON has all."""


def _find_collapsed(outcome: Outcome, store: Store) -> list[str]:
    """Returns the titles of the contenders that collapsed, by the rule of the reports."""
    from capsbench.planning.contender_defaults import title_cells
    from capsbench.presenting.marks import is_collapsed

    before = [record.cell.id for record in outcome.failed if record.training is not None]
    records = {cell: store.read(cell) for cell in (*outcome.finished, *outcome.on_record, *before)}
    contenders: dict[str, list[Record]] = {}
    for record in records.values():
        contenders.setdefault(record.cell.contender, []).append(record)

    def read_kept(measure: str, cell: str) -> dict[str, NDArray[Any]]:
        return store.kept(records[cell], measure)

    collapsed = [records[0].cell for records in contenders.values() if is_collapsed(records, read_kept)]
    titles = title_cells(records[0].cell for records in contenders.values()) if collapsed else {}
    return [titles[cell.id].rpartition(", seed ")[0] for cell in collapsed]


def print_outcome(outcome: Outcome, out: Path, as_json: bool, facts: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Prints the outcome of a run; raises `typer.Exit` with its exit code if cells failed or were left.

    Args:
        facts: what else a program is told, by name.
    """
    from capsbench.records.store import Store

    titles = {}
    if outcome.failed:
        from capsbench.planning.contender_defaults import title_cells

        records, _ = Store(out).records()
        titles = title_cells(record.cell for record in (*records, *outcome.failed))
    collapsed = _find_collapsed(outcome, Store(out))
    if as_json:
        failed = [{"cell": r.cell.id, "title": titles[r.cell.id], "reason": r.reason} for r in outcome.failed]
        print(json.dumps({**asdict(outcome), "failed": failed, "collapsed": collapsed, **facts}))
    else:
        print_line(outcome.describe(out))
        if collapsed:
            from capsbench.presenting.marks import COLLAPSED

            print_line(f"collapsed {COLLAPSED.sign} in one or more seeds: {'; '.join(collapsed)}")
    for record in outcome.failed:
        if any(failure.trace for failure in record.failures.values()) and not as_json:
            print_line(f"traceback of {titles[record.cell.id]}: {Store(out).record_path(record.cell.id)}")
    if not _print_left(outcome, as_json) and not as_json:
        print_line(
            "to see the results: capsbench report"
            + ("" if out == Path("results") else f" --out {shlex.quote(str(out))}")
        )
    if outcome.failed:
        raise typer.Exit(EXIT_FAILED)


def print_outcome_of_trials(outcome: Outcome, out: Path, as_json: bool) -> None:
    """Prints the outcome of a search whose trials have not all ended; raises `typer.Exit` if it was interrupted."""
    if as_json:
        failed = [{"cell": record.cell.id, "reason": record.reason} for record in outcome.failed]
        print(json.dumps({**asdict(outcome), "failed": failed}))
    else:
        done, total = outcome.count_done()
        print_line(f"{done + len(outcome.failed)} of {total} trials on record in {out}")
    _print_left(outcome, as_json)


def _print_left(outcome: Outcome, as_json: bool) -> bool:
    """Prints what is left of a run, and how to go on; returns true if its jobs go on without the command.

    Raises `typer.Exit` if the run was interrupted, or its budget is spent.
    """
    # Without --fresh the command continues a fresh run; with it, it would start again.
    again = shlex.join(["capsbench", *(part for part in sys.argv[1:] if part != "--fresh")])
    if outcome.interrupted:
        count = outcome.count_left()
        left = "1 cell is left" if count == 1 else f"{count} cells are left"
        if outcome.trained:
            left += f" ({len(outcome.trained)} of them trained, and to be measured)"
        word, code = describe_end()
        # A program that reads the output parses it as a whole.
        say = print_warning if as_json else print_line
        say(f"{word}; {left}; to continue, run the same command again: {again}")
        raise typer.Exit(code)
    if outcome.waiting:
        if not as_json:
            _print_waiting(outcome)
            print_line(f"the budget is spent; to continue, run the same command again: {again}")
        raise typer.Exit(EXIT_INTERRUPTED)
    if outcome.detached and not as_json:
        jobs = "1 job is" if outcome.detached == 1 else f"{outcome.detached} jobs are"
        print_line(f"{jobs} in Slurm's queue; to collect the results, run the same command again: {again}")
    return bool(outcome.detached)


def _print_waiting(outcome: Outcome) -> None:
    """Prints the contenders that a budget left, with their seeds and the expected time of a cell."""
    from capsbench.planning.duration import spell_duration

    contenders: dict[tuple[str, bool], list[Waiting]] = {}
    for waiting in outcome.waiting:
        title = waiting.title.rpartition(", seed ")[0]
        contenders.setdefault((title, waiting.cell in outcome.trained), []).append(waiting)
    lines = []
    for (title, is_trained), cells in contenders.items():
        seeds = ", ".join(waiting.title.rpartition(", seed ")[2] for waiting in cells)
        seconds = max((waiting.seconds for waiting in cells if waiting.seconds is not None), default=None)
        about = (
            "duration unknown" if seconds is None else f"about {spell_duration(seconds)}{' each' * (len(cells) > 1)}"
        )
        about = "trained, to be measured" + f", {about}" * (seconds is not None) if is_trained else about
        lines.append(f"waits: {title}, seed{'s' * (len(cells) > 1)} {seeds}: {about}")
    for line in lines[:MOST_WAITING]:
        print_line(line)
    if len(lines) > MOST_WAITING:
        print_line(f"... and {len(lines) - MOST_WAITING} more contenders")
