"""`capsbench report`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import sys
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from capsbench.cli.console import print_line, print_prose, print_warning
from capsbench.cli.flags.complete import complete_condition, complete_list, complete_suite
from capsbench.cli.flags.options import CodeOption, JsonOption, OutOption
from capsbench.errors import EXIT_NOTHING_MEASURED, Kind, UsageError
from capsbench.presenting.terminal import make_console, to_one_line
from capsbench.records.cell import asked_fields
from capsbench.reporting.formats import FORMATS

if TYPE_CHECKING:
    import pandas as pd

    from capsbench.reporting.build import Report
    from capsbench.reporting.formats.terminal import Fitted
    from capsbench.reporting.table import Table


MOST_ROWS = 25
"""The most rows of a table on the terminal; its file and the page have all."""


def report(
    out: OutOption = Path("results"),
    run_name: Annotated[
        str | None, typer.Option("--run", help="Name of a run, as in runs/: its networks only.")
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="Networks of the latest run only.")] = False,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Only networks for which this holds, NAME=A,B or NAME!=A,B; repeatable. NAME is a flag of `run`.",
            autocompletion=complete_condition,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Add the effect of each value of NAME, over all else that was varied.",
            autocompletion=complete_list(asked_fields()),
        ),
    ] = None,
    for_: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="NAME",
            help="Begin with the answer for one contender: is it better than its rivals, on what, by how much. NAME is any "
            "name that the tables print.",
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="Suite whose published numbers are shown; by default that of the latest run with one.",
            autocompletion=complete_suite,
        ),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"Some of {','.join(FORMATS)}; by default all but tex and png.",
            metavar="A,B,...",
            autocompletion=complete_list(FORMATS),
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Columns of the headline table, in order; `all` for every column. By default those that a terminal, or a "
            "column of a paper (tex), has room for.",
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Output folder; by default OUT/report.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    allow_code: CodeOption = False,
    quote: Annotated[
        bool,
        typer.Option("--quote", help="Print only the sentences on who won, ready to quote, and with --for the answer."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Report a results folder: tables on the terminal, a page (HTML, Markdown), tables (LaTeX, CSV, parquet), figures (SVG, PNG).

    capsbench report --open

    capsbench report --for em

    capsbench report --columns contender,accuracy,parameters

    capsbench report --quote

    capsbench report --where dataset=mnist --where iters=1,3 --by routing

    capsbench report --out results/reference/mnist-tiny --to my-report --format html,tex

    capsbench report --last --suite sabour2017
    """
    from capsbench.reporting.build import BY_DEFAULT, PAGE
    from capsbench.reporting.build import report as make_report

    if quote and as_json:
        raise UsageError(Kind.CONFLICT, "conflicts with {flag:json}", flag="quote", expected="give one of them")
    result = make_report(
        out,
        run=run_name,
        last=last,
        suite=suite,
        where=where or [],
        by=() if by is None else by,
        for_=for_,
        columns=columns,
        formats=BY_DEFAULT if formats is None else formats,
        to=to,
        allow_code=allow_code,
    )
    if as_json:
        for _, words in result.document.incomplete:
            print_warning(words)
        print((result.summary if result.answer is None else result.answer.numbers).to_json(orient="records"))
    elif quote:
        _print_quotes(result)
    else:
        _print_report(result)
    pages = [path for path in result.files if path.name == PAGE]
    if open_ and pages:
        webbrowser.open(pages[0].resolve().as_uri())
    if result.readable.empty:
        raise typer.Exit(EXIT_NOTHING_MEASURED)


def _turn_columns(strings: pd.DataFrame) -> pd.DataFrame:
    """Returns an answer about one contender with a column for each rival, of which there are fewer than numbers."""
    if strings.empty or len(strings) >= len(strings.columns) or strings.columns[0] != "against":
        return strings
    return strings.set_index("against").T.rename_axis("against", axis="index").reset_index()


def print_answer(result: Report) -> None:
    """Prints what a report says of the contender that it was asked about, if any."""
    for statement in result.answer.statements if result.answer else ():
        for text in (statement.lead, *(f"- {item}" for item in statement.items), *statement.remarks):
            print_prose(text)
        print()


def _choose_tables(result: Report) -> list[tuple[str | None, Table]]:
    """Returns the tables that a terminal shows, with their titles.

    A person reads names, and what all rows share once; a program that reads the output gets every column, as in the files.
    """
    from capsbench.reporting.build import PUBLISHED
    from capsbench.reporting.headline import HEADLINE
    from capsbench.reporting.table import Table

    parts = {part.name: part.table for part in result.document.parts if part.table}
    strings = {HEADLINE: result.readable, PUBLISHED: result.published_readable}
    strings |= {section.section.name: section.readable for section in result.sections}
    titles = {HEADLINE: None, PUBLISHED: "Paper against measured"}
    titles |= {section.section.name: section.section.title for section in result.sections}
    if result.answer:  # the page has the rest, below which the answer would be out of sight here
        name = result.answer.section.name
        strings, titles = {name: _turn_columns(result.answer.readable)}, {name: "In numbers"}
    tables = []
    for name, title in titles.items():
        if not strings[name].empty:
            table = Table.from_cells(name, strings[name])
            if sys.stdout.isatty():
                table = parts[name] if not result.answer else Table.from_strings(name, "", strings[name], "")
            tables.append((title, replace(table, marks=parts[name].marks)))
    return tables


def _print_table(title: str | None, table: Table) -> None:
    """Prints a table; on a terminal with the columns that it has room for."""
    from capsbench.reporting.formats.terminal import Fitted, fit_table, split_groups

    more, table = len(table.rows) - MOST_ROWS, replace(table, rows=table.rows[:MOST_ROWS])
    fixed = sys.stdout.isatty()
    fitted = fit_table(table, make_console().width) if fixed else Fitted(table, [], [])
    if table.grouped and fitted.left_out:  # then what a group shares is a title
        for words, group in split_groups(table):
            _print_table(f"{title}: {words}", replace(group, marks=[]))
        fitted = Fitted(table, [], [])
    else:
        _print_grid(title, fitted)
    if more > 0:
        print(f"... and {more} more rows in the files\n")
    if fixed and fitted.table.shared:
        print_prose(fitted.table.about_shared)
    if fitted.left_out:
        remedy = ", or --columns" if table.contenders else ""
        print_prose(f"Left out here: {', '.join(fitted.left_out)}; a wider terminal{remedy} shows them.")
    for line in table.marks:
        if any(line.partition(":")[0] in text for row in fitted.table.rows for text in row):
            print_prose(line)


def _print_grid(title: str | None, fitted: Fitted) -> None:
    from rich.table import Table as Grid

    grid = Grid(title=title and to_one_line(title), title_justify="left", show_edge=False, pad_edge=False)
    for place, heading in enumerate(fitted.table.headings):
        width = fitted.widths[place] if fitted.widths else None
        grid.add_column(to_one_line(heading), overflow="fold", width=width)
    for row in fitted.table.rows:
        grid.add_row(*map(to_one_line, row))
    make_console().print(grid)


def _print_quotes(result: Report) -> None:
    """Prints the sentences to quote; what they lack is told apart from them."""
    for _, words in result.document.incomplete:
        print_warning(words)
    for text in result.document.quotes:
        print_prose(text)
    if not result.document.quotes:
        print_warning(f"nothing to quote: {result.document.no_quotes}")


def _print_report(result: Report) -> None:
    if result.document.cautions:
        print_line(f"{'; '.join(words for _, words in result.document.cautions)}.\n")
    print_answer(result)
    for title, table in _choose_tables(result):
        _print_table(title, table)
    for title, reason in result.failed:
        print_line(f"failed: {title}: {reason}")
    for line in result.document.still_to_run:
        print_line(f"not finished: {line}")
    for line in [*result.faults, *result.notes]:
        print_line(line)
    kinds = {
        "the page": (".html", ".md"),
        "tables": (".tex", ".csv", ".parquet"),
        "pictures": (".png", ".svg"),
    }
    for kind, endings in kinds.items():
        names = [path.name for path in result.files if path.suffix in endings]
        if names:
            print_line(f"{kind}: {', '.join(names)}")
    print_line(f"in {result.files[0].parent}")
