"""`capsbench compare`: parses, calls, prints; decides nothing."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from capsbench.cli.console import say
from capsbench.cli.options import CodeOption, JsonOption
from capsbench.errors import EXIT_NOTHING_MEASURED
from capsbench.presenting.terminal import make_console

if TYPE_CHECKING:
    import pandas as pd


class Format(StrEnum):
    """How a comparison is printed."""

    TABLE = "table"
    MARKDOWN = "md"


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A folder of records.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another.")],
    everything: Annotated[
        bool, typer.Option("--all", help="All changed numbers, rather than those of which the change is a difference.")
    ] = False,
    form: Annotated[Format, typer.Option("--format", help="How it is printed.")] = Format.TABLE,
    allow_code: CodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Two folders of records side by side: what changed, with tests; what only one has; what cannot be compared, and why.

    capsbench compare results/before results/after

    capsbench compare results/reference/digits results --all --format md
    """
    from capsbench.comparing import compare as make_comparison
    from capsbench.comparing import formats

    found = make_comparison(a, b, allow_code=allow_code)
    if as_json:
        print(formats.comparison_json(found))
    elif form is Format.MARKDOWN:
        print(formats.comparison_markdown(found, everything), end="")
    else:
        _print(formats.changes_readable(found, everything))
        for line in formats.summary_of(found):
            say(line)
    if not found.matched:
        raise typer.Exit(EXIT_NOTHING_MEASURED)


def _print(changes: pd.DataFrame) -> None:
    """A table of changes, each contender's under its name, so that the rest is readable on 80 columns."""
    console = make_console()
    for contender, rows in changes.groupby("contender", sort=False):
        table = Table(title=str(contender), title_justify="left", title_style="bold", box=None, pad_edge=False)
        for column in rows.columns.drop("contender"):
            table.add_column(column, overflow="fold", no_wrap=column in ("seeds", "test", "p"))
        for row in rows.drop(columns="contender").itertuples(index=False):
            table.add_row(*(str(value) for value in row))
        console.print(table)
