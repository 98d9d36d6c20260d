"""`capsbench check`: parses, calls, prints; decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from capsbench.cli.console import print_line
from capsbench.cli.flags.options import CodeOption, JsonOption
from capsbench.errors import Kind, NothingMeasured, UsageError


def check(
    against: Annotated[
        Path, typer.Option("--against", metavar="REF", help="Folder of the reference, with 3 or more seeds.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Results folder, of which the latest run is checked.")] = Path(
        "results"
    ),
    tolerance: Annotated[
        float, typer.Option(help="Percentage points that a number may be worse, even significantly.", metavar="POINTS")
    ] = 1.0,
    slower: Annotated[
        float,
        typer.Option(help="Factor by which a time may grow, relative to other times of the run.", metavar="FACTOR"),
    ] = 4.0,
    summary: Annotated[
        Path | None, typer.Option(help="Write a Markdown summary, for example for a pull request.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Print what changed, then replace the reference by this run.")
    ] = False,
    allow_code: CodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Test the latest run of a folder for regressions against a reference.

    Exit codes: 1 regression, 2 usage error, 3 failed or missing cells, 4 no run.

    capsbench run --suite ci --out results/now --fresh

    capsbench check --against results/reference/ci --out results/now --summary summary.md --junit check.xml
    """
    from capsbench.comparing import check as make_check
    from capsbench.comparing import formats
    from capsbench.comparing.update import explain_unlike, has_records
    from capsbench.comparing.update import update as update_reference

    if summary is not None and summary == junit:
        raise UsageError(
            Kind.CONFLICT, "same file as {flag:junit}", flag="summary", file=summary, expected="give two files"
        )
    if update and not has_records(against):
        for line in update_reference(against, out):
            print_line(line)
        return
    try:
        checked = make_check(against, out, tolerance=tolerance, slower=slower, allow_code=allow_code)
    except NothingMeasured as error:
        raise explain_unlike(error, against) if update else error from None
    if as_json:
        print(formats.check_json(checked))
    else:
        for line in [*formats.lines_of(checked.findings), *checked.notes, formats.verdict_of(checked)]:
            print_line(line)
    if summary is not None:
        formats.write("summary", summary, formats.check_markdown(checked))
    if junit is not None:
        formats.write("junit", junit, formats.check_junit(checked))
    if update:
        lines = update_reference(against, out)
        if not as_json:
            for line in [f"{against} now holds the results of {out}:", *lines]:
                print_line(line)
        return
    if checked.exit_code:
        raise typer.Exit(checked.exit_code)
