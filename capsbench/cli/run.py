"""`capsbench run`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from capsbench.cli.console import print_line, print_warning
from capsbench.cli.options import (
    CellsPerJobOption,
    CheckpointOption,
    DataOption,
    DetachOption,
    ExecutorOption,
    JsonOption,
    OutOption,
    PerGpuOption,
    RayOption,
    SlurmOption,
    TimeoutOption,
    WorkersOption,
    announce_search,
    parse_slurm,
    with_cell_options,
)
from capsbench.cli.outcome import print_outcome
from capsbench.errors import Kind, UsageError
from capsbench.measures.build import NONE
from capsbench.planning.count import MAX_CELLS, MOST_CELLS
from capsbench.planning.defaults import SECONDS_BETWEEN_CHECKPOINTS
from capsbench.planning.request import ONE_LIST, spell_flag, split_values
from capsbench.presenting.terminal import make_console
from capsbench.records.declaration import Panel

if TYPE_CHECKING:
    from capsbench.api import Plan
    from capsbench.running.estimate import Estimate

MANY_CELLS = 100
"""The number of cells from which planning takes so long that it is announced."""

MOST_ROWS = 1000
"""The most cells that a dry run prints on the terminal; ``--json`` has all."""


@with_cell_options
def run(
    context: typer.Context,
    suite: Annotated[str | None, typer.Option(help="Name of a suite, or a TOML file; flags override it.")] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option(
            help="Any flag as NAME=A,B,..., also an option of a network, routing or loss; repeatable. Same as --NAME A,B,..."
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...", help="CNNs to compare each capsule network with, or none. [dim]Default: matched.[/dim]"
        ),
    ] = None,
    baseline_size: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="CNN size: own, or matched to the capsule network's parameters. [dim]Default: own.[/dim]",
        ),
    ] = None,
    out: OutOption = Path("results"),
    data_dir: DataOption = None,
    measure: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Measures to take, or all that apply. [dim]Default: those that take little time.[/dim] "
            "Measures on record are not taken again; missing ones are taken without training again.",
            rich_help_panel=Panel.MACHINE,
        ),
    ] = None,
    no_measure: Annotated[
        bool, typer.Option("--no-measure", help="Train only.", rich_help_panel=Panel.MACHINE)
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Run the I-th of N parts of the cells. Each machine runs a part in a folder of its own, and "
            "`capsbench merge` joins the folders.",
        ),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train and measure cells again that are on record.")] = False,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Show the cells live in tensorboard, mlflow or wandb, or in your own module:Tracker.",
            rich_help_panel=Panel.MACHINE,
        ),
    ] = None,
    workers: WorkersOption = None,
    executor: ExecutorOption = "local",
    per_gpu: PerGpuOption = 1,
    cell_timeout: TimeoutOption = None,
    checkpoint_seconds: CheckpointOption = SECONDS_BETWEEN_CHECKPOINTS,
    slurm: SlurmOption = None,
    cells_per_job: CellsPerJobOption = None,
    detach: DetachOption = False,
    ray_address: RayOption = None,
    max_cells: Annotated[
        int,
        typer.Option(
            min=1, max=MOST_CELLS, help="Refuse a matrix of more cells than this.", rich_help_panel=Panel.MACHINE
        ),
    ] = MAX_CELLS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells and the estimated duration; run nothing.")
    ] = False,
    as_json: JsonOption = False,
    **asked: str | None,
) -> None:
    """Train and measure a matrix of networks. A comma list is an axis; cells on record are not run again.

    capsbench run --routing em --iters 1,2,3

    capsbench run --routing dynamic,em,uniform --dataset mnist --train-size 1000,12000 --seeds 0,1,2,3,4

    capsbench run --routing dynamic --squash sabour,unit --leaky yes,no

    capsbench run --routing my_module:MyRouting --temperature 0.5,1 --epochs 5
    """
    from capsbench import api
    from capsbench.running.machines import Machines
    from capsbench.running.trackers.build import choose_trackers

    if no_measure and measure is not None:
        problem = "conflicts with {flag:measure}"
        raise UsageError(Kind.CONFLICT, problem, flag="no_measure", expected="give one of them")
    named = {
        **asked,
        "measure": NONE if no_measure else measure,
        "baseline": baseline,
        "baseline_size": baseline_size,
    }
    request: dict[str, Any] = {**named, **_parse_options([*(axis or []), *_parse_flags(context.args)], named)}
    request |= {"max_cells": max_cells, "on_count": _announce_count, "shard": shard}
    trackers = [] if track is None else split_values(track)
    machines: dict[str, Any] = {"executor": executor, "workers": workers, "per_gpu": per_gpu}
    machines |= {"cell_timeout": cell_timeout, "slurm": parse_slurm(slurm), "cells_per_job": cells_per_job}
    machines |= {"detach": detach, "ray_address": ray_address}
    with _suggest_flags(context):
        if dry_run:
            Machines(**machines)
            choose_trackers(trackers)
            _print_plan(api.plan(suite, data_dir, **request), out, data_dir, as_json, fresh)
            return
        announce_search(executor, ray_address)
        outcome = api.run(
            suite=suite,
            out=out,
            data_dir=data_dir,
            fresh=fresh,
            track=trackers,
            command=shlex.join(["capsbench", *sys.argv[1:]]),
            checkpoint_seconds=checkpoint_seconds,
            **machines,
            **request,
        )
    print_outcome(outcome, out, as_json)


@contextmanager
def _suggest_flags(context: typer.Context) -> Iterator[None]:
    """Adds the flags of the command to those that the refusal of an unknown one names: ``--worker`` may be ``--workers``."""
    try:
        yield
    except UsageError as error:
        if error.kind is Kind.UNKNOWN and error.value == error.flag and isinstance(error.expected, tuple):
            declared = (_to_python_name(flag.opts[0]) for flag in context.command.params)
            error.expected = tuple(sorted({*error.expected, *declared}))
        raise


def _announce_count(count: int) -> None:
    if count > MANY_CELLS:
        print_warning(f"planning up to {count:,} cells")


def _parse_flags(arguments: list[str]) -> list[str]:
    """Parses flags that are not declared, such as ``--squash unit,sabour``, into NAME=VALUES."""
    axes, rest = [], iter(arguments)
    for argument in rest:
        name, equals, values = argument.partition("=")
        if not name.startswith("--") or name == "--":
            raise UsageError(Kind.INVALID, expected="flags only", value=argument)
        values = values if equals else next(rest, "")
        if not values or values.startswith("--"):
            expected = f"{name} A,B,... with a value"
            raise UsageError(Kind.INVALID, flag=_to_python_name(name), expected=expected, value=values)
        axes.append(f"{name.removeprefix('--')}={values}")
    return axes


def _to_python_name(name: str) -> str:
    """Converts a flag to its name in Python: ``--train-size`` to ``train_size``."""
    return name.removeprefix("--").replace("-", "_")


def _parse_options(axes: list[str], named: Mapping[str, str | None]) -> dict[str, str]:
    """Parses NAME=VALUES into a request; raises UsageError for a name that is given twice or also as a flag."""
    options: dict[str, str] = {}
    for axis in axes:
        name, equals, values = axis.partition("=")
        if not equals or not name or not values:
            raise UsageError(Kind.INVALID, flag="axis", expected="NAME=A,B,...", value=axis)
        key = _to_python_name(name.strip())
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
    _print_estimate(estimate_duration(left, records.keys(), data_dir), len(planned), len(left))


def _print_estimate(timing: Estimate, cells: int, left: int) -> None:
    for title, reason in timing.failed.items():
        print_line(f"no estimate of {title}: {reason}")
    about = f"{timing.seconds / 60:.0f} min" if timing.seconds >= 90 else f"{timing.seconds:.0f} s"
    if timing.timed == timing.networks:
        about = f"about {about} on this machine (from timed training steps)"
    elif timing.timed:
        about = f"more than {about} on this machine ({timing.timed} of {timing.networks} networks timed)"
    else:
        about = f"duration unknown (0 of {timing.networks} networks timed)"
    print_line(f"{cells} cell{'s' * (cells != 1)}, {left} to run, {about}")
