"""`capsbench compare` and `capsbench check`: parse, call, print; decide nothing."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from capsbench.errors import EXIT_NOTHING_MEASURED, Kind, UsageError

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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Two folders of records side by side: what changed, with tests; what only one has; what cannot be compared, and why.

    capsbench compare results/before results/after

    capsbench compare results/reference/digits results --all --format md
    """
    from capsbench.comparing import compare as make_comparison
    from capsbench.comparing import writing

    found = make_comparison(a, b)
    if as_json:
        print(writing.comparison_json(found))
    elif form is Format.MARKDOWN:
        print(writing.comparison_markdown(found, everything), end="")
    else:
        _print(writing.changes_readable(found, everything))
        for line in writing.summary_of(found):
            print(line)
    if not found.matched:
        raise typer.Exit(EXIT_NOTHING_MEASURED)


def check(
    against: Annotated[
        Path, typer.Option("--against", metavar="REF", help="The reference: a folder of records of 3 seeds or more.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The run that is checked: a results folder.")] = Path("results"),
    tolerance: Annotated[
        float, typer.Option(help="Points by which a number may be worse, however sure that is.", metavar="POINTS")
    ] = 1.0,
    slower: Annotated[
        float, typer.Option(help="Factor by which a time may be longer, among those of its run.", metavar="FACTOR")
    ] = 4.0,
    summary: Annotated[Path | None, typer.Option(help="Write a Markdown summary, as for a pull request.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Say what changed, then put the run in the place of the reference.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """The regression gate: whether a run is worse than a reference. Exit codes: 1 worse, 2 usage, 3 failed or missing, 4 no run.

    capsbench run --suite ci --out results/now --fresh

    capsbench check --against results/reference/ci --out results/now --summary summary.md --junit check.xml
    """
    from capsbench.comparing import check as make_check
    from capsbench.comparing import writing
    from capsbench.comparing.update import update as put

    if summary is not None and summary == junit:
        raise UsageError(
            Kind.CONFLICT, "the same file as {flag:junit}", flag="summary", file=summary, expected="name two files"
        )
    if update and not any((against / "records").glob("*.json")):
        print("\n".join(put(against, out)))
        return
    checked = make_check(against, out, tolerance=tolerance, slower=slower)
    if as_json:
        print(writing.check_json(checked))
    else:
        for line in [*writing.lines_of(checked.findings), *checked.notes, writing.verdict_of(checked)]:
            print(line)
    if summary is not None:
        writing.write("summary", summary, writing.check_markdown(checked))
    if junit is not None:
        writing.write("junit", junit, writing.check_junit(checked))
    if update:
        lines = put(against, out)
        if not as_json:
            print("\n".join([f"{against} is what {out} is now:", *lines]))
        return
    if checked.exit_code:
        raise typer.Exit(checked.exit_code)


def _print(changes: pd.DataFrame) -> None:
    """A table of changes, each contender's under its name, so that the rest is readable on 80 columns."""
    # Piped output is not folded at 80 columns: a program or a file has no width.
    console = Console() if sys.stdout.isatty() else Console(width=240)
    for contender, rows in changes.groupby("contender", sort=False):
        table = Table(title=escape(str(contender)), title_justify="left", title_style="bold", box=None, pad_edge=False)
        for column in rows.columns.drop("contender"):
            table.add_column(column, overflow="fold", no_wrap=column in ("seeds", "test", "p"))
        for row in rows.drop(columns="contender").itertuples(index=False):
            table.add_row(*(escape(str(value)) for value in row))
        console.print(table)
