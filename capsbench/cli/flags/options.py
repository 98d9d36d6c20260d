"""Options that several commands have, and those of `capsbench run` that are fields of the Cell."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from capsbench.cli.flags.complete import complete_choice, complete_flag, complete_list, complete_suite
from capsbench.errors import Kind, UsageError
from capsbench.planning.count import MOST_CELLS, MOST_WORKERS
from capsbench.planning.defaults import describe_default
from capsbench.planning.request import BASELINE_FLAG, BASELINE_SIZES, MEASURE_FLAG
from capsbench.records.cell import FIELDS, asked_fields
from capsbench.records.declaration import Panel
from capsbench.running.executors.build import EXECUTORS

SuiteOption = Annotated[
    str | None,
    typer.Option(help="Name of a suite, or a TOML file; flags override it.", autocompletion=complete_suite),
]
AxisOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Any flag as NAME=A,B,..., also an option of a data set, network, routing or loss; repeatable. Same as "
        "--NAME A,B,..."
    ),
]
BaselineOption = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="CNNs to compare each capsule network with: a name, timm:NAME, torchvision:NAME, module:make; or none. "
        "[dim]Default: matched.[/dim]",
        autocompletion=complete_flag(BASELINE_FLAG),
    ),
]
BaselineSizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="CNN size: own, or matched to the capsule network's parameters. [dim]Default: own.[/dim]",
        autocompletion=complete_list(BASELINE_SIZES),
    ),
]
MeasureOption = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="Measures to take, or all that apply. [dim]Default: those that take little time.[/dim] "
        "Measures on record are not taken again; missing ones are taken without training again.",
        autocompletion=complete_flag(MEASURE_FLAG),
        rich_help_panel=Panel.MACHINE,
    ),
]
NoMeasureOption = Annotated[bool, typer.Option("--no-measure", help="Train only.", rich_help_panel=Panel.MACHINE)]
MaxCellsOption = Annotated[
    int,
    typer.Option(min=1, max=MOST_CELLS, help="Refuse a matrix of more cells than this.", rich_help_panel=Panel.MACHINE),
]
OutOption = Annotated[Path, typer.Option("--out", help="Results folder.")]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="Where data sets lie or are downloaded to; else $CAPSBENCH_DATA, else the user's cache."
    ),
]
MovedOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="A,B,...",
        help="Where images of your own lie now that were moved since the training, such as folder:PATH.",
    ),
]
CodeOption = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        help="Import the own parts (package.module:Class) that the records name: for records of people you trust.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=MOST_WORKERS, help="Networks at a time on a machine; by default as many as fill its cores or GPUs."
    ),
]
ExecutorOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help=f"Where cells run: {', '.join(EXECUTORS)}.",
        autocompletion=complete_choice(EXECUTORS),
        rich_help_panel=Panel.MACHINE,
    ),
]
PerGpuOption = Annotated[
    int, typer.Option(min=1, max=MOST_WORKERS, help="Networks at a time on a GPU.", rich_help_panel=Panel.MACHINE)
]
TimeoutOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Time limit of a cell, such as 90s, 30m or 1h30m, or in seconds: a longer one fails, and the others go on. "
        "[dim]Default: none.[/dim]",
        rich_help_panel=Panel.MACHINE,
    ),
]
CheckpointOption = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Least time between two checkpoints of a training, from which an interrupted one goes on.",
        rich_help_panel=Panel.MACHINE,
    ),
]

BudgetOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Time that the command may take, such as 90s, 1h30m or 8h: one seed of every contender before the second one, and "
        "only cells that are expected to end in time. [dim]Default: none.[/dim]",
        rich_help_panel=Panel.MACHINE,
    ),
]

SlurmOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Option of Slurm for --executor slurm, such as partition=gpu or time=4:00:00; repeatable.",
        rich_help_panel=Panel.MACHINE,
    ),
]
CellsPerJobOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST_WORKERS,
        help="Cells that an array task of Slurm runs, one after the other. [dim]Default: 1.[/dim]",
        rich_help_panel=Panel.MACHINE,
    ),
]
DetachOption = Annotated[
    bool,
    typer.Option(
        "--detach",
        help="Submit the cells to Slurm and end; the same command later collects them.",
        rich_help_panel=Panel.MACHINE,
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Ray cluster to join for --executor ray, or auto. [dim]Default: start a Ray on this machine.[/dim]",
        rich_help_panel=Panel.MACHINE,
    ),
]


def parse_slurm(options: list[str] | None) -> dict[str, str]:
    """Parses KEY=VALUE options of Slurm; raises UsageError."""
    parsed: dict[str, str] = {}
    for option in options or []:
        name, _, value = option.partition("=")
        if not name or not value:
            raise UsageError(Kind.INVALID, flag="slurm", expected="KEY=VALUE", value=option)
        if name in parsed:
            raise UsageError(Kind.CONFLICT, "given twice", flag="slurm", value=name)
        parsed[name.replace("-", "_")] = value
    return parsed


def with_cell_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command one option a field of the Cell, in place of its ``**asked``: a new field is a new flag."""
    signature = inspect.signature(command, eval_str=True)
    parameters = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    for panel in Panel:
        for flag, field in asked_fields().items():
            if FIELDS[field].panel is not panel:
                continue
            text = f"{FIELDS[field].text}. [dim]Default: {describe_default(field)}.[/dim]"
            option = typer.Option(
                "--" + flag.replace("_", "-"),
                help=text[0].upper() + text[1:],
                rich_help_panel=panel,
                metavar="A,B,...",
                autocompletion=complete_flag(flag),
            )
            annotation = Annotated[str | None, option]
            parameters.append(
                inspect.Parameter(flag, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            )
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command
