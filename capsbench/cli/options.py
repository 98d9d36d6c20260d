"""Options that several commands have, and those of `capsbench run` that are fields of the Cell."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from capsbench.planning.defaults import default_in_words
from capsbench.records.cell import Cell, flag_of

MEASURING = "Measuring and machine"

PANELS = {
    "Data": ["dataset", "train_size", "shift", "warp"],
    "Network": ["network", "size", "routing", "iterations", "loss", "reconstruction", "reconstruction_weight"],
    "Training": [
        "epochs", "batch_size", "optimizer", "learning_rate", "schedule", "decay", "decay_steps", "weight_decay", "clip",
        "patience", "stop_at", "seed",
    ],
    MEASURING: [
        "precision", "device", "backend", "threads", "channels_last", "fused_optimizer", "compile",
    ],
}  # fmt: skip

OutOption = Annotated[Path, typer.Option("--out", help="Results folder.")]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="Where data sets lie or are downloaded to; else $CAPSBENCH_DATA, else the user's cache."
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


def with_cell_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command one option a field of the Cell, in place of its ``**asked``: a new field is a new flag."""
    signature = inspect.signature(command, eval_str=True)
    parameters = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    for panel, fields in PANELS.items():
        for field in fields:
            name = "--" + flag_of(field).replace("_", "-")
            text = f"{Cell.model_fields[field].description}. [dim]Default: {default_in_words(field)}.[/dim]"
            option = typer.Option(name, help=text[0].upper() + text[1:], rich_help_panel=panel, metavar="A,B,...")
            parameters.append(
                inspect.Parameter(
                    flag_of(field),
                    inspect.Parameter.KEYWORD_ONLY,
                    default=None,
                    annotation=Annotated[str | None, option],
                )
            )
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command
