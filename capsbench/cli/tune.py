"""`capsbench tune`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from capsbench.cli.console import print_line
from capsbench.cli.flags.complete import complete_choice
from capsbench.cli.flags.options import (
    AxisOption,
    BaselineOption,
    BaselineSizeOption,
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
from capsbench.cli.planned import print_estimate
from capsbench.errors import EXIT_FAILED
from capsbench.planning.count import MAX_CELLS, MOST_TRIALS
from capsbench.planning.defaults import SECONDS_BETWEEN_CHECKPOINTS, STUDIES, TRIALS
from capsbench.presenting.terminal import make_console

if TYPE_CHECKING:
    from capsbench.tuning.contenders import Contender
    from capsbench.tuning.outline import Counts

PANEL = "Search"


@with_cell_options
def tune(
    context: typer.Context,
    trials: Annotated[
        int,
        typer.Option(min=1, max=MOST_TRIALS, help="Trials of each contender, CNNs included.", rich_help_panel=PANEL),
    ] = TRIALS,
    studies: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST_TRIALS,
            help="Studies that the trials are divided into. The winner of each is trained anew; a test needs 3.",
            rich_help_panel=PANEL,
        ),
    ] = STUDIES,
    space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="Values of a setting for every contender that has it, LOW..HIGH or A,B,...; repeatable. "
            "[dim]Default: the declared ones.[/dim] What a flag names is not tuned.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    study_seed: Annotated[
        int,
        typer.Option(min=0, max=2**31 - 1, help="Seed of the settings that are drawn.", rich_help_panel=PANEL),
    ] = 0,
    sampler: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="random; or tpe, which learns from earlier trials and has no budget curves (extra tune).",
            autocompletion=complete_choice(("random", "tpe")),
            rich_help_panel=PANEL,
        ),
    ] = "random",
    suite: SuiteOption = None,
    axis: AxisOption = None,
    baseline: BaselineOption = None,
    baseline_size: BaselineSizeOption = None,
    out: OutOption = Path("results"),
    data_dir: DataOption = None,
    measure: MeasureOption = None,
    no_measure: NoMeasureOption = False,
    workers: WorkersOption = None,
    executor: ExecutorOption = "local",
    per_gpu: PerGpuOption = 1,
    cell_timeout: TimeoutOption = None,
    checkpoint_seconds: CheckpointOption = SECONDS_BETWEEN_CHECKPOINTS,
    slurm: SlurmOption = None,
    cells_per_job: CellsPerJobOption = None,
    detach: DetachOption = False,
    ray_address: RayOption = None,
    max_cells: MaxCellsOption = MAX_CELLS,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the contenders, their spaces and the estimated duration; run nothing."),
    ] = False,
    as_json: JsonOption = False,
    **asked: str | None,
) -> None:
    """Search for the settings of every contender with the same number of trials, and train the winners anew.

    The contenders are those of `capsbench run`, CNNs included. A trial is judged by its validation performance and reads no test
    image. The table has the winners with fresh seeds, marked as tuned.

    capsbench tune --routing dynamic,em --dataset fashion-mnist --train-size 6000 --out results/tuned

    capsbench tune --routing dynamic,em --epochs auto --out results/tuned

    capsbench tune --routing my_module:MyRouting --trials 40 --space learning_rate=0.001..0.3 --space temperature=0.5,1,2
    """
    from capsbench.running.machines import Machines
    from capsbench.tuning.search import Search, parse_spaces
    from capsbench.tuning.tune import plan_search
    from capsbench.tuning.tune import tune as tune_contenders

    named = {
        **asked,
        "measure": choose_measures(measure, no_measure),
        "baseline": baseline,
        "baseline_size": baseline_size,
    }
    options = parse_options([*(axis or []), *parse_flags(context.args)], named)
    request: dict[str, Any] = {**named, **options}
    machines: dict[str, Any] = {"executor": executor, "workers": workers, "per_gpu": per_gpu}
    machines |= {"cell_timeout": cell_timeout, "slurm": parse_slurm(slurm), "cells_per_job": cells_per_job}
    machines |= {"detach": detach, "ray_address": ray_address, "checkpoint_seconds": checkpoint_seconds}
    with suggest_flags(context):
        refuse_arguments(options, tune_contenders, plan_search)
        if dry_run:
            Machines(**machines)
            search = Search(trials, studies, study_seed, sampler, parse_spaces(space or ()))  # type: ignore[arg-type]
            contenders, remarks = plan_search(
                search, suite=suite, data_dir=data_dir, max_cells=max_cells, on_count=announce_count, **request
            )
            print_search(contenders, remarks, out, data_dir, as_json)
            return
        tuned = tune_contenders(
            trials=trials,
            studies=studies,
            study_seed=study_seed,
            sampler=sampler,  # type: ignore[arg-type]
            space=space or (),
            suite=suite,
            out=out,
            data_dir=data_dir,
            command=shlex.join(["capsbench", *sys.argv[1:]]),
            max_cells=max_cells,
            **machines,
            **request,
        )
    if tuned.results is None:
        print_outcome_of_trials(tuned.trials, out, as_json)
        return
    print_outcome(tuned.results, out, as_json, tuned.facts)
    if tuned.without_winner:
        raise typer.Exit(EXIT_FAILED)


def print_search(
    contenders: list[Contender], remarks: list[str], out: Path, data_dir: Path | None, as_json: bool
) -> None:
    """Prints the contenders of a search, what is tuned of each, what is on record, and the estimated duration of what is left."""
    from capsbench.planning.contender_defaults import title_cells
    from capsbench.running.estimate import estimate_duration
    from capsbench.tuning.epochs import FACTORS
    from capsbench.tuning.outline import outline_search

    outline, search = outline_search(contenders, out), contenders[0].search
    remarks = [*remarks, *outline.remarks]
    factors = FACTORS if search.is_prolonged else FACTORS[:1]
    epochs = [[factor * contender.planned.cell.epochs for factor in factors] for contender in contenders]
    by_cell = title_cells(contender.planned.cell for contender in contenders)
    titles = [by_cell[contender.planned.cell.id].rpartition(", seed ")[0] for contender in contenders]
    if as_json:
        described = [
            {
                "contender": contender.identity,
                "title": title,
                "trials": search.trials,
                "studies": search.studies,
                "results": search.studies * len(contender.seeds),
                "epochs": of_contender,
                "spaces": contender.described,
                "on_record": {kind: counted.on_record for kind, counted in counts.items()},
            }
            for contender, title, of_contender, counts in zip(contenders, titles, epochs, outline.counts, strict=True)
        ]
        facts = asdict(estimate_duration(outline.left, outline.trained, data_dir))
        del facts["seconds_of"]  # of cells that stand for those of the search
        print(
            json.dumps(
                {
                    "contenders": described,
                    "cells": outline.cells,
                    "left": len(outline.left),
                    **facts,
                    "remarks": remarks,
                }
            )
        )
        return
    table = Table("contender", "trials", "results", "on record", "tuned", box=None, pad_edge=False)
    for contender, title, counts in zip(contenders, titles, outline.counts, strict=True):
        spaces = ", ".join(f"{name} {space}" for name, space in contender.described.items())
        of_results = f"{search.studies} x {len(contender.seeds)} seeds"
        table.add_row(
            title, f"{search.studies} x {search.trials_of_study}", of_results, _spell_on_record(counts), spaces
        )
    make_console().print(table)
    for remark in remarks:
        print_line(remark)
    if outline.is_open:
        most = max(of_contender[-1] for of_contender in epochs)
        print_line(
            f"the winner of each study is trained with up to {most} epochs, as long as it is improving; at most:"
        )
    sys.stdout.flush()  # shows the plan before the timing, which takes seconds
    timing = estimate_duration(outline.left, outline.trained, data_dir)
    print_estimate(timing, outline.cells, len(outline.left))


def _spell_on_record(counts: Counts) -> str:
    """Returns ``12 trials, 2 results``: what of a contender is on record."""
    words = {"trials": "trial", "longer": "longer training", "results": "result"}
    return ", ".join(
        f"{counted.on_record} {words[kind]}{'s' * (counted.on_record != 1)}"
        for kind, counted in counts.items()
        if counted.on_record
    )
