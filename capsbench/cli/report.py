"""`capsbench report`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from capsbench.cli.console import say, warn
from capsbench.cli.options import CodeOption, JsonOption, OutOption
from capsbench.errors import EXIT_NOTHING_MEASURED
from capsbench.presenting.terminal import make_console, to_one_line

if TYPE_CHECKING:
    import pandas as pd

    from capsbench.reporting.build import Report


MOST_ROWS = 25
"""Of a table in the terminal; of more, the page and the table's file have the rest."""


def report(
    out: OutOption = Path("results"),
    run_name: Annotated[
        str | None, typer.Option("--run", help="A run's name (see runs/); the latest if none is given.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All records of the folder rather than one run's.")] = False,
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only these, NAME=A,B or NAME!=A,B; repeatable. Names are those of the flags of `run`."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="What each value of NAME does, over all else that was varied."),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="The suite whose published numbers stand beside; the run's own if none is given.")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format", help="Of html,md,tex,csv,parquet,svg,png; by default all but tex and png.", metavar="A,B,..."
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Where to write; OUT/report by default.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    allow_code: CodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """A run as a page (HTML, Markdown), tables (LaTeX, CSV, parquet) and pictures (SVG, PNG), and its tables to the terminal.

    capsbench report --open

    capsbench report --where dataset=mnist --where iters=1,3 --by routing

    capsbench report --out results/reference/mnist-12000-all --to my-report --format html,tex

    capsbench report --all --suite sabour2017
    """
    from capsbench.reporting.build import BY_DEFAULT, PAGE
    from capsbench.reporting.build import report as make_report

    made = make_report(
        out,
        run=run_name,
        everything=everything,
        suite=suite,
        where=where or [],
        by=_listed(by),
        formats=BY_DEFAULT if formats is None else _listed(formats),
        to=to,
        allow_code=allow_code,
    )
    if as_json:
        for _, words in made.document.incomplete:
            warn(words)
        print(made.summary.to_json(orient="records"))
    else:
        _print(made)
    pages = [path for path in made.files if path.name == PAGE]
    if open_ and pages:
        webbrowser.open(pages[0].resolve().as_uri())
    if made.readable.empty:
        raise typer.Exit(EXIT_NOTHING_MEASURED)


def _listed(names: str | None) -> list[str]:
    return [name.strip() for name in names.split(",")] if names is not None else []


def _print(made: Report) -> None:
    from capsbench.reporting.build import PUBLISHED
    from capsbench.reporting.document import HEADLINE

    if made.document.cautions:
        say(f"{'; '.join(words for _, words in made.document.cautions)}.\n")
    legends = {part.name: part.table.marks for part in made.document.parts if part.table}
    tables: list[tuple[str, str | None, pd.DataFrame]] = [(HEADLINE, None, made.readable)]
    tables += [(PUBLISHED, "Paper against measured", made.published_readable)]
    tables += [(section.section.name, section.section.title, section.readable) for section in made.sections]
    for name, title, strings in tables:
        if not strings.empty:
            table = Table(title=title and to_one_line(title), title_justify="left", show_edge=False, pad_edge=False)
            for column in strings.columns:
                table.add_column(to_one_line(column), overflow="fold")
            rows = [[to_one_line(value) for value in row] for row in strings.head(MOST_ROWS).itertuples(index=False)]
            for row in rows:
                table.add_row(*row)
            make_console().print(table)
            if len(strings) > MOST_ROWS:
                print(f"... and {len(strings) - MOST_ROWS} more rows, which the files have\n")
            for line in legends[name]:
                if any(line.partition(":")[0] in value for row in rows for value in row):
                    say(line)
    for title, reason in made.failed:
        say(f"failed: {title}: {reason}")
    for line in made.document.still_to_run:
        say(f"not finished: {line}")
    for line in [*made.faults, *made.notes]:
        say(line)
    kinds = {
        "the page": (".html", ".md"),
        "tables": (".tex", ".csv", ".parquet"),
        "pictures": (".png", ".svg"),
    }
    for kind, endings in kinds.items():
        names = [path.name for path in made.files if path.suffix in endings]
        if names:
            say(f"{kind}: {', '.join(names)}")
    say(f"in {made.files[0].parent}")
