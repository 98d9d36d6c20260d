"""`capsbench run`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from capsbench.cli.console import print_line
from capsbench.cli.flags.complete import complete_components
from capsbench.cli.flags.options import (
    AxisOption,
    BaselineOption,
    BaselineSizeOption,
    BudgetOption,
    CellsPerJobOption,
    CheckpointOption,
    DataOption,
    DetachOption,
    ExecutorOption,
    JsonOption,
    MaxCellsOption,
    MeasureOption,
    NoMeasureOption,
    OutOption,
    PerGpuOption,
    RayOption,
    SlurmOption,
    SuiteOption,
    TimeoutOption,
    WorkersOption,
    parse_slurm,
    with_cell_options,
)
from capsbench.cli.flags.request import (
    announce_count,
    choose_measures,
    parse_flags,
    parse_options,
    refuse_arguments,
    suggest_flags,
)
from capsbench.cli.outcome import print_outcome, print_outcome_of_trials
from capsbench.cli.planned import print_plan
from capsbench.planning.count import MAX_CELLS
from capsbench.planning.defaults import SECONDS_BETWEEN_CHECKPOINTS
from capsbench.planning.request import AUTO, EPOCHS, refuse_beside, split_values, start_search
from capsbench.records.declaration import Panel

if TYPE_CHECKING:
    from capsbench.api import Plan


@with_cell_options
def run(
    context: typer.Context,
    suite: SuiteOption = None,
    axis: AxisOption = None,
    baseline: BaselineOption = None,
    baseline_size: BaselineSizeOption = None,
    out: OutOption = Path("results"),
    data_dir: DataOption = None,
    measure: MeasureOption = None,
    no_measure: NoMeasureOption = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Run the I-th of N parts of the cells. Each machine runs a part in a folder of its own, and "
            "`capsbench merge` joins the folders.",
        ),
    ] = None,
    until_decided: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Run 3, 5, 8, 12 or 20 seeds, as many as decide whether A or B has the better test accuracy.",
        ),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train and measure cells again that are on record.")] = False,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Show the cells live in tensorboard, mlflow or wandb, or in your own module:Tracker.",
            autocompletion=complete_components("tracker"),
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
    budget: BudgetOption = None,
    max_cells: MaxCellsOption = MAX_CELLS,
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

    capsbench run --routing dynamic,em --epochs auto --out results/auto

    capsbench run --routing dynamic,em --dataset fashion-mnist --seeds 0,1,2 --budget 8h
    """
    from capsbench import api
    from capsbench.running.machines import Machines
    from capsbench.running.trackers.build import choose_trackers

    named = {
        **asked,
        "measure": choose_measures(measure, no_measure),
        "baseline": baseline,
        "baseline_size": baseline_size,
    }
    options = parse_options([*(axis or []), *parse_flags(context.args)], named)
    request: dict[str, Any] = {**named, **options}
    request |= {"max_cells": max_cells, "on_count": announce_count, "shard": shard}
    trackers = [] if track is None else split_values(track)
    machines: dict[str, Any] = {"executor": executor, "workers": workers, "per_gpu": per_gpu}
    machines |= {"cell_timeout": cell_timeout, "slurm": parse_slurm(slurm), "cells_per_job": cells_per_job}
    machines |= {"detach": detach, "ray_address": ray_address, "checkpoint_seconds": checkpoint_seconds}
    is_searched = start_search(request) is not None
    refused = {"shard": shard, "track": track, "fresh": fresh, "detach": detach, "budget": budget}
    with suggest_flags(context):
        refuse_arguments(options, api.run, api.plan)
        if is_searched:
            refuse_beside(f"{{flag:{EPOCHS}}} {AUTO}", until_decided=until_decided, **refused)
            request.pop("shard")
        elif until_decided is not None:
            refuse_beside("{flag:until_decided}", **refused)
            request.pop("shard")
        if dry_run:
            chosen = Machines(**machines, budget=budget)
            choose_trackers(trackers)
            if is_searched:
                _print_search_for_epochs(suite, data_dir, request, out, as_json)
            else:
                plan = _plan(until_decided, suite, data_dir, request)
                print_plan(plan, out, data_dir, as_json, fresh, machines=chosen)
            return
        if is_searched or until_decided is not None:
            how: dict[str, Any] = {**machines, **request, "suite": suite, "data_dir": data_dir}
            how["command"] = shlex.join(["capsbench", *sys.argv[1:]])
            if until_decided is not None:
                _run_until_decided(until_decided, how, out, as_json)
            else:
                _run_search_for_epochs(how, out, as_json)
            return
        outcome = api.run(
            suite=suite,
            out=out,
            data_dir=data_dir,
            fresh=fresh,
            track=trackers,
            command=shlex.join(["capsbench", *sys.argv[1:]]),
            budget=budget,
            **machines,
            **request,
        )
    print_outcome(outcome, out, as_json)


def _plan(pair: str | None, suite: str | None, data_dir: Path | None, request: dict[str, Any]) -> Plan:
    """Returns the plan of a run; of one that adds seeds, with the most that it may take."""
    from capsbench import api

    if pair is None:
        return api.plan(suite, data_dir, **request)
    from capsbench.deciding.looks import plan_looks

    cells, remarks = plan_looks(pair, suite=suite, data_dir=data_dir, **request)
    return api.Plan(cells, {}, remarks)


def _run_until_decided(pair: str, how: dict[str, Any], out: Path, as_json: bool) -> None:
    """Runs seeds until a comparison is decided, and prints the result."""
    from capsbench.deciding import decide

    decision = decide(pair, out=out, **how)
    if not as_json:
        print_line(decision.describe())
    print_outcome(decision.outcome, out, as_json, decision.facts)


def _run_search_for_epochs(how: dict[str, Any], out: Path, as_json: bool) -> None:
    """Searches for the epochs of each contender, trains and measures with these, and prints the outcome."""
    from capsbench.tuning.converge import converge

    how.pop("detach")
    converged = converge(out=out, **how)
    if converged.results is None:
        print_outcome_of_trials(converged.trials, out, as_json)
    else:
        print_outcome(converged.results, out, as_json, converged.facts)


def _print_search_for_epochs(
    suite: str | None, data_dir: Path | None, request: dict[str, Any], out: Path, as_json: bool
) -> None:
    """Prints the first trials of a search for epochs, and what is left of it, at most."""
    from capsbench.api import Plan
    from capsbench.records.tuning.trials import TRIALS
    from capsbench.tuning.converge import plan_climbers
    from capsbench.tuning.outline import outline_climbers

    climbers, remarks = plan_climbers(suite=suite, data_dir=data_dir, **request)
    first = [trial for climber in climbers for trial in climber.ladder.plan_rung(1)]
    outline = outline_climbers(climbers, out)
    print_plan(Plan(first, {}, remarks), out / TRIALS, data_dir, as_json, False, outline)
