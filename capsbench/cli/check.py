"""`capsbench check`: parses, calls, prints; decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from capsbench.cli.console import say
from capsbench.cli.options import CodeOption, JsonOption
from capsbench.errors import Kind, NothingMeasured, UsageError


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
    allow_code: CodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """The regression gate: whether a run is worse than a reference. Exit codes: 1 worse, 2 usage, 3 failed or missing, 4 no run.

    capsbench run --suite ci --out results/now --fresh

    capsbench check --against results/reference/ci --out results/now --summary summary.md --junit check.xml
    """
    from capsbench.comparing import check as make_check
    from capsbench.comparing import formats
    from capsbench.comparing.update import has_records, tell_unlike
    from capsbench.comparing.update import update as put

    if summary is not None and summary == junit:
        raise UsageError(
            Kind.CONFLICT, "the same file as {flag:junit}", flag="summary", file=summary, expected="name two files"
        )
    if update and not has_records(against):
        for line in put(against, out):
            say(line)
        return
    try:
        checked = make_check(against, out, tolerance=tolerance, slower=slower, allow_code=allow_code)
    except NothingMeasured as error:
        raise tell_unlike(error, against) if update else error from None
    if as_json:
        print(formats.check_json(checked))
    else:
        for line in [*formats.lines_of(checked.findings), *checked.notes, formats.verdict_of(checked)]:
            say(line)
    if summary is not None:
        formats.write("summary", summary, formats.check_markdown(checked))
    if junit is not None:
        formats.write("junit", junit, formats.check_junit(checked))
    if update:
        lines = put(against, out)
        if not as_json:
            for line in [f"{against} is what {out} is now:", *lines]:
                say(line)
        return
    if checked.exit_code:
        raise typer.Exit(checked.exit_code)
