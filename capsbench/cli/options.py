"""Options that several commands have, and those of `capsbench run` that are fields of the Cell."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from capsbench.planning.defaults import describe_default
from capsbench.records.cell import FIELDS, asked_fields
from capsbench.records.declaration import Panel

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
            )
            annotation = Annotated[str | None, option]
            parameters.append(
                inspect.Parameter(flag, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            )
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command
