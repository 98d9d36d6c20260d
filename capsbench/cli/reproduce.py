"""`capsbench reproduce`: parses, calls, prints; decides nothing."""

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
from capsbench.cli.flags.complete import complete_flag, complete_row
from capsbench.cli.flags.options import (
    CheckpointOption,
    CodeOption,
    DataOption,
    JsonOption,
    MovedOption,
    PerGpuOption,
    TimeoutOption,
    WorkersOption,
)
from capsbench.cli.flags.request import parse_flags, parse_options, refuse_arguments, suggest_flags
from capsbench.cli.outcome import print_outcome
from capsbench.cli.planned import print_plan
from capsbench.planning.defaults import SECONDS_BETWEEN_CHECKPOINTS
from capsbench.planning.request import MEASURE_FLAG
from capsbench.presenting.terminal import make_console, to_one_line

if TYPE_CHECKING:
    from capsbench.presenting.notebook import Grid


def reproduce(
    context: typer.Context,
    row: Annotated[
        str,
        typer.Argument(
            metavar="ROW",
            help="Published row, SUITE:NUMBER or SUITE:WORDS, as `capsbench list row` has them; or a record: cell as in "
            "`capsbench show`, or FOLDER/CELL.",
            autocompletion=complete_row,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Results folder of the reproduction.")] = Path("reproduced"),
    data_dir: DataOption = None,
    dataset: MovedOption = None,
    measure: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Some of the measures. [dim]Default: those on record; of a row the accuracy.[/dim]",
            autocompletion=complete_flag(MEASURE_FLAG),
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show every number of a record, not only those that differ.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Run again what an earlier reproduction has on record.")
    ] = False,
    workers: WorkersOption = None,
    per_gpu: PerGpuOption = 1,
    cell_timeout: TimeoutOption = None,
    checkpoint_seconds: CheckpointOption = SECONDS_BETWEEN_CHECKPOINTS,
    allow_code: CodeOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells and the estimated duration; run nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a published row or a record again, and compare: the same bits, within the interval, or not reproduced.

    Further flags of `run` replace the suite's values of a row, such as --seeds 0; of a record only those of the machine, such as
    --device cpu. The same command continues after an interruption.

    Exit codes: 0 the same bits or within the interval, 1 not reproduced, 2 usage error, 3 failed cells.

    capsbench reproduce results/reference/digits/2c369fd6437d

    capsbench reproduce "em x3, seed 0" --measure accuracy

    capsbench reproduce sabour2017:5 --dry-run

    capsbench reproduce "sabour2017:mnist routing 3 reconstruction yes" --seeds 0 --epochs 10
    """
    from capsbench.reproducing import plan_reproduction
    from capsbench.reproducing import reproduce as run_again

    options = parse_options(parse_flags(context.args), {"measure": measure})
    request: dict[str, Any] = {"measure": measure, **options}
    aimed: dict[str, Any] = {
        "out": out,
        "data_dir": data_dir,
        "dataset": dataset or (),
        "allow_code": allow_code,
        **request,
    }
    with suggest_flags(context):
        refuse_arguments(options, run_again)
        if dry_run:
            from capsbench.api import Plan

            aim = plan_reproduction(row, **aimed)
            print_plan(Plan([*aim.planned], {}, [*aim.remarks]), out, data_dir, as_json, fresh)
            return
        result = run_again(
            row,
            fresh=fresh,
            workers=workers,
            per_gpu=per_gpu,
            cell_timeout=cell_timeout,
            checkpoint_seconds=checkpoint_seconds,
            command=shlex.join(["capsbench", *sys.argv[1:]]),
            **aimed,
        )
    if result.outcome.left or result.outcome.failed:
        print_outcome(result.outcome, out, as_json)
        return
    if as_json:
        print(json.dumps({**result.to_facts(), "outcome": asdict(result.outcome), "out": str(out)}))
    else:
        print_line(result.title)
        _print_table(result.to_table(everything))
        for line in result.describe():
            print_line(line)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


def _print_table(grid: Grid | None) -> None:
    if grid is None:
        return
    table = Table(*map(str, grid.headings), box=None, pad_edge=False)
    for cells in grid.rows:
        table.add_row(*(to_one_line(text) for text in cells))
    make_console().print(table)
