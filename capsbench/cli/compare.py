"""`capsbench compare`: parses, calls, prints; decides nothing."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from capsbench.cli.console import print_line
from capsbench.cli.flags.options import CodeOption, JsonOption
from capsbench.errors import EXIT_NOTHING_MEASURED
from capsbench.presenting.terminal import make_console

if TYPE_CHECKING:
    import pandas as pd


class Format(StrEnum):
    """Format of a printed comparison."""

    TABLE = "table"
    MARKDOWN = "md"


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Results folder.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Results folder to compare it with.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Show every changed number, not only significant changes.")
    ] = False,
    form: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.TABLE,
    allow_code: CodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare two results folders: changed numbers with tests, contenders of only one, and what cannot be compared.

    capsbench compare results/before results/after

    capsbench compare results/reference/digits results --all --format md
    """
    from capsbench.comparing import compare as make_comparison
    from capsbench.comparing import formats

    comparison = make_comparison(a, b, allow_code=allow_code)
    if as_json:
        print(formats.comparison_json(comparison))
    elif form is Format.MARKDOWN:
        print(formats.comparison_markdown(comparison, everything), end="")
    else:
        _print_changes(formats.changes_readable(comparison, everything))
        for line in formats.summary_of(comparison):
            print_line(line)
    if not comparison.matched:
        raise typer.Exit(EXIT_NOTHING_MEASURED)


def _print_changes(changes: pd.DataFrame) -> None:
    """Prints one table for each contender, so that its columns fit in 80 characters."""
    console = make_console()
    for contender, rows in changes.groupby("contender", sort=False):
        table = Table(title=str(contender), title_justify="left", title_style="bold", box=None, pad_edge=False)
        for column in rows.columns.drop("contender"):
            table.add_column(column, overflow="fold", no_wrap=column in ("seeds", "test", "p"))
        for row in rows.drop(columns="contender").itertuples(index=False):
            table.add_row(*(str(value) for value in row))
        console.print(table)
