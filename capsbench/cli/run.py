"""`capsbench run`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from capsbench.cli.console import say, warn
from capsbench.cli.options import DataOption, JsonOption, OutOption, with_cell_options
from capsbench.cli.outcome import tell_outcome
from capsbench.errors import Kind, UsageError
from capsbench.measures.build import NONE
from capsbench.planning.count import MAX_CELLS, MOST_CELLS, MOST_WORKERS
from capsbench.planning.request import ONE_LIST
from capsbench.presenting.terminal import make_console
from capsbench.records.declaration import Panel

if TYPE_CHECKING:
    from capsbench.api import Plan
    from capsbench.running.estimate import Estimate

TOLD = 100
"""Cells of which planning takes more than a moment."""


@with_cell_options
def run(
    context: typer.Context,
    suite: Annotated[str | None, typer.Option(help="A suite's name or TOML file; flags override it.")] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option(
            help="Any name as NAME=A,B,..., also an option of a network, routing or loss (--NAME A,B); repeatable."
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="CNNs beside each capsule network (matched by default), or none."),
    ] = None,
    baseline_size: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...", help="Their size: own (by default), or matched to the capsule network's parameters."
        ),
    ] = None,
    out: OutOption = Path("results"),
    data_dir: DataOption = None,
    measure: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="What is measured, or all. [dim]Default: what takes little time; all: every one that applies.[/dim] "
            "What a network has is not taken again; what it lacks is taken without training it anew.",
            rich_help_panel=Panel.MACHINE,
        ),
    ] = None,
    no_measure: Annotated[
        bool, typer.Option("--no-measure", help="Train alone.", rich_help_panel=Panel.MACHINE)
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run cells again that are on record.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_WORKERS, help="Networks trained at a time; by default as many as fill the cores."),
    ] = None,
    max_cells: Annotated[
        int,
        typer.Option(min=1, max=MOST_CELLS, help="Refuse axes that make more cells.", rich_help_panel=Panel.MACHINE),
    ] = MAX_CELLS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the cells and an estimate, run nothing.")] = False,
    as_json: JsonOption = False,
    **asked: str | None,
) -> None:
    """Run a matrix of experiments. Comma lists are axes; what is on record is not run again.

    capsbench run --routing em --iters 1,2,3

    capsbench run --routing dynamic,em,uniform --dataset mnist --train-size 1000,12000 --seeds 0,1,2,3,4

    capsbench run --routing dynamic --squash sabour,unit --leaky yes,no

    capsbench run --routing my_module:MyRouting --temperature 0.5,1 --epochs 5
    """
    from capsbench import api

    if no_measure and measure is not None:
        problem = "does not go with {flag:measure}"
        raise UsageError(Kind.CONFLICT, problem, flag="no_measure", expected="leave one of them out")
    named = {
        **asked,
        "measure": NONE if no_measure else measure,
        "baseline": baseline,
        "baseline_size": baseline_size,
    }
    request: dict[str, Any] = {**named, **_options([*(axis or []), *_flags(context.args)], named)}
    request |= {"max_cells": max_cells, "on_count": _tell_count}
    if dry_run:
        _print_plan(api.plan(suite, data_dir, **request), out, data_dir, as_json, fresh)
        return
    command = shlex.join(["capsbench", *sys.argv[1:]])
    outcome = api.run(suite=suite, out=out, data_dir=data_dir, fresh=fresh, workers=workers, command=command, **request)
    tell_outcome(outcome, out, as_json)


def _tell_count(count: int) -> None:
    if count > TOLD:
        warn(f"planning up to {count:,} cells")


def _flags(arguments: list[str]) -> list[str]:
    """What came beside the flags that are known beforehand, ``--squash unit,sabour``, as NAME=VALUES."""
    axes, rest = [], iter(arguments)
    for argument in rest:
        name, equals, values = argument.partition("=")
        if not name.startswith("--") or name == "--":
            raise UsageError(Kind.INVALID, expected="flags alone", value=argument)
        values = values if equals else next(rest, "")
        if not values or values.startswith("--"):
            expected = f"{name} A,B,... with a value"
            raise UsageError(Kind.INVALID, flag=_in_python(name), expected=expected, value=values)
        axes.append(f"{name.removeprefix('--')}={values}")
    return axes


def _in_python(name: str) -> str:
    """A flag's name in Python: ``--train-size`` is ``train_size``."""
    return name.removeprefix("--").replace("-", "_")


def _options(axes: list[str], named: Mapping[str, str | None]) -> dict[str, str]:
    """NAME=VALUES as a request; raises UsageError for a name that is also among the flags given."""
    options: dict[str, str] = {}
    for axis in axes:
        name, equals, values = axis.partition("=")
        if not equals or not name or not values:
            raise UsageError(Kind.INVALID, flag="axis", expected="NAME=A,B,...", value=axis)
        key = _in_python(name.strip())
        if key in options or named.get(key) is not None:
            raise UsageError(Kind.CONFLICT, "given twice", flag=key, expected=ONE_LIST)
        options[key] = values
    return options


def _print_plan(plan: Plan, out: Path, data_dir: Path | None, as_json: bool, fresh: bool) -> None:
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
        print(json.dumps({"cells": cells, **timing, "left_out": plan.left_out, "remarks": remarks}))
        return
    titles = title_cells(job.cell for job in planned)
    table = Table("cell", "experiment", "epochs", "parameters", "on record", box=None, pad_edge=False)
    for job in planned:
        cell = job.cell
        state = "" if cell.id not in records else "yes"
        if cell.id in records and cell.id in to_measure:
            missing = ", ".join(to_measure[cell.id])
            has_weights = store.has_weights(records[cell.id])
            state = f"trained; to measure: {missing}" if has_weights else f"trained; no weights to measure {missing}"
        table.add_row(cell.id, titles[cell.id], str(cell.epochs), f"{parameter_count(cell):,}", state)
    make_console().print(table)
    for name, reason in plan.left_out.items():
        say(f"left out, {name}: {reason}")
    for remark in remarks:
        say(remark)
    sys.stdout.flush()  # the plan is there before anything is timed
    _print_estimate(estimate_duration(left, records.keys(), data_dir), len(planned), len(left))


def _print_estimate(made: Estimate, cells: int, left: int) -> None:
    for title, reason in made.failed.items():
        say(f"no estimate of {title}: {reason}")
    about = f"{made.seconds / 60:.0f} min" if made.seconds >= 90 else f"{made.seconds:.0f} s"
    if made.timed == made.networks:
        about = f"about {about} on this machine (from timed training steps)"
    elif made.timed:
        about = f"more than {about} on this machine ({made.timed} of {made.networks} networks timed)"
    else:
        about = f"for a time that is not known (0 of {made.networks} networks timed)"
    say(f"{cells} cells, {left} to run, {about}")
