"""Prints a plan and its estimated duration: what a dry run shows."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from capsbench.cli.console import print_line
from capsbench.planning.request import spell_flag
from capsbench.presenting.terminal import make_console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from capsbench.api import Plan
    from capsbench.planning.matrix import PlannedCell
    from capsbench.running.estimate import Estimate

MOST_ROWS = 1000
"""The most cells that a dry run prints on the terminal; ``--json`` has all."""


def print_plan(
    plan: Plan, out: Path, data_dir: Path | None, as_json: bool, fresh: bool, most: Sequence[PlannedCell] = ()
) -> None:
    """Prints the cells of a plan; ``most`` are those of a whole search of which these are the first."""
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
        timing = asdict(estimate_duration(left, records.keys(), data_dir))
        facts = {"cells": cells, **timing, "left_out": plan.left_out, "remarks": remarks}
        if most:
            facts["most"] = {"cells": len(most), **asdict(estimate_duration(most, (), data_dir))}
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
    print_estimate(estimate_duration(left, records.keys(), data_dir), len(planned), len(left))
    if most:
        print_line("the whole search, if every contender is still improving until the last trials:")
        print_estimate(estimate_duration(most, (), data_dir), len(most), len(most))


def print_estimate(timing: Estimate, cells: int, left: int) -> None:
    """Prints the estimated duration of some cells, those on record among them."""
    for title, reason in timing.failed.items():
        print_line(f"no estimate of {title}: {reason}")
    about = f"{timing.seconds / 60:.0f} min" if timing.seconds >= 90 else f"{timing.seconds:.0f} s"
    if not timing.networks:
        about = f"about {about}"
    elif timing.timed == timing.networks:
        about = f"about {about} on this machine (from timed training steps)"
    elif timing.timed:
        about = f"more than {about} on this machine ({timing.timed} of {timing.networks} networks timed)"
    else:
        about = f"duration unknown (0 of {timing.networks} networks timed)"
    print_line(f"{cells} cell{'s' * (cells != 1)}, {left} to run, {about}")
