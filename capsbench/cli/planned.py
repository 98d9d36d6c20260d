"""Prints a plan and its estimated duration: what a dry run shows."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from capsbench.cli.console import print_line
from capsbench.planning.duration import spell_duration
from capsbench.planning.request import spell_flag
from capsbench.presenting.terminal import make_console

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from capsbench.api import Plan
    from capsbench.planning.matrix import PlannedCell
    from capsbench.running.estimate import Estimate
    from capsbench.running.machines import Machines
    from capsbench.tuning.outline import Outline

MOST_ROWS = 1000
"""The most cells that a dry run prints on the terminal; ``--json`` has all."""

MOST_WAITING = 6
"""The most waiting cells that a dry run names."""


def print_plan(
    plan: Plan,
    out: Path,
    data_dir: Path | None,
    as_json: bool,
    fresh: bool,
    search: Outline | None = None,
    machines: Machines | None = None,
) -> None:
    """Prints the cells of a plan.

    Args:
        search: the whole search of which these are the first cells.
        machines: those that the run asks for, with its budget; None without one.
    """
    from capsbench.networks.build import parameter_count
    from capsbench.planning.contender_defaults import title_cells
    from capsbench.records.store import Store
    from capsbench.running.estimate import estimate_duration
    from capsbench.running.on_record import look_up

    store, planned = Store(out), plan.cells
    on_record = look_up(planned, store, fresh=fresh)
    records = on_record.records
    left = on_record.list_remaining(planned)
    to_measure = {job.cell.id: job.measures for job in left}
    remarks = [*plan.remarks, *on_record.remarks]
    if as_json:
        cells = [
            {
                "id": job.cell.id,
                "on_record": job.cell.id not in to_measure,
                "trained": job.cell.id in records,
                "parameters": parameter_count(job.cell),
                "measures": list(job.measures),
                **job.cell.model_dump(mode="json"),
            }
            for job in planned
        ]
        timing = estimate_duration(left, records.keys(), data_dir)
        facts = {"cells": cells, **asdict(timing), "left_out": plan.left_out, "remarks": remarks}
        if machines is not None and machines.ends is not None:
            facts["within_budget"] = [job.cell.id for job in _select_admitted(plan, left, records, timing, machines)]
        if search is not None:
            whole = estimate_duration(search.left, search.trained, data_dir)
            facts["most"] = {"cells": search.cells, "left": len(search.left), **asdict(whole)}
        print(json.dumps(facts))
        return
    titles = title_cells(job.cell for job in planned)
    table = Table("cell", "experiment", "epochs", "parameters", "on record", box=None, pad_edge=False)
    for job in planned[:MOST_ROWS]:
        cell = job.cell
        state = "" if cell.id not in records else "yes"
        if cell.id in records and cell.id in to_measure:
            missing = ", ".join(to_measure[cell.id])
            has_weights = store.has_weights(records[cell.id])
            state = f"trained; to measure: {missing}" if has_weights else f"trained; no weights to measure {missing}"
        table.add_row(cell.id, titles[cell.id], str(cell.epochs), f"{parameter_count(cell):,}", state)
    make_console().print(table)
    if len(planned) > MOST_ROWS:
        print_line(f"... and {len(planned) - MOST_ROWS:,} more cells; {spell_flag('json')} has all")
    for name, reason in plan.left_out.items():
        print_line(f"left out, {name}: {reason}")
    for remark in remarks:
        print_line(remark)
    sys.stdout.flush()  # shows the plan before the timing, which takes seconds
    timing = estimate_duration(left, records.keys(), data_dir)
    print_estimate(timing, len(planned), len(left))
    if machines is not None and machines.ends is not None:
        admitted = {job.cell.id for job in _select_admitted(plan, left, records, timing, machines)}
        waiting = [titles[job.cell.id] for job in left if job.cell.id not in admitted]
        print_line(
            f"{len(admitted)} of them are expected to end within the budget"
            + (f", {len(waiting)} wait: {'; '.join(waiting[:MOST_WAITING])}" if waiting else "")
            + ("; ..." if len(waiting) > MOST_WAITING else "")
        )
    if search is not None:
        condition = ", if every contender is still improving until the last trials" if search.is_open else ""
        print_line(f"the whole search{condition}:")
        whole = estimate_duration(search.left, search.trained, data_dir)
        print_estimate(whole, search.cells, len(search.left))


def _select_admitted(
    plan: Plan, left: Sequence[PlannedCell], trained: Iterable[str], timing: Estimate, machines: Machines
) -> list[PlannedCell]:
    """Returns the cells that are expected to end within the budget of a run."""
    from capsbench.running.schedule import BudgetSchedule

    schedule = BudgetSchedule(machines.ends or 0.0, plan.cells, timing.seconds_of, trained=frozenset(trained))
    return schedule.simulate(left, machines.count_workers(left))


def print_estimate(timing: Estimate, cells: int, left: int) -> None:
    """Prints the estimated duration of some cells, those on record among them."""
    for title, reason in timing.failed.items():
        print_line(f"no estimate of {title}: {reason}")
    about = spell_duration(timing.seconds)
    if not timing.networks:
        about = f"about {about}"
    elif timing.timed == timing.networks:
        about = f"about {about} on this machine (from timed training steps)"
    elif timing.timed:
        about = f"more than {about} on this machine ({timing.timed} of {timing.networks} networks timed)"
    else:
        about = f"duration unknown (0 of {timing.networks} networks timed)"
    print_line(f"{cells} cell{'s' * (cells != 1)}, {left} to run, {about}")
