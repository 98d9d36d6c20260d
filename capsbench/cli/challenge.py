"""`capsbench challenge`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from capsbench.cli.console import print_line
from capsbench.cli.flags.complete import complete_component, complete_components
from capsbench.cli.flags.options import (
    AxisOption,
    BaselineOption,
    DataOption,
    JsonOption,
    MeasureOption,
    WorkersOption,
    with_cell_options,
)
from capsbench.cli.flags.request import parse_flags, parse_options, refuse_arguments, suggest_flags
from capsbench.cli.outcome import print_outcome, print_outcome_of_trials
from capsbench.cli.report import print_answer
from capsbench.cli.tune import print_search
from capsbench.errors import EXIT_FAILED, UsageError
from capsbench.planning.count import MOST_TRIALS
from capsbench.planning.defaults import STUDIES, TRIALS

if TYPE_CHECKING:
    from capsbench.reporting.build import Report
    from capsbench.tuning.tuner import Tuned


@with_cell_options
def challenge(
    context: typer.Context,
    contender: Annotated[
        str,
        typer.Argument(
            help="Routing or network, built in or your own as module:Class.",
            autocompletion=complete_component("routing", "network"),
        ),
    ],
    against: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Rivals of the same kind. [dim]Default: dynamic,em for a routing, the matched CNN for a network.[/dim]",
            autocompletion=complete_components("routing", "network"),
        ),
    ] = None,
    budget: Annotated[
        int, typer.Option(min=1, max=MOST_TRIALS, help="Trials of each contender, CNNs included.")
    ] = TRIALS,
    studies: Annotated[
        int, typer.Option(min=1, max=MOST_TRIALS, help="Studies that the trials are divided into; a test needs 3.")
    ] = STUDIES,
    axis: AxisOption = None,
    baseline: BaselineOption = None,
    measure: MeasureOption = None,
    out: Annotated[Path, typer.Option("--out", help="Results folder.")] = Path("results/challenge"),
    data_dir: DataOption = None,
    workers: WorkersOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the contenders and the estimated duration; run nothing.")
    ] = False,
    as_json: JsonOption = False,
    **asked: str | None,
) -> None:
    """Find out whether a routing or network of yours wins: tune all with the same budget, train anew, and say it in a sentence.

    capsbench challenge my_module:MyRouting

    capsbench challenge my_module:MyRouting --against dynamic,self-attention --dataset mnist --train-size 6000 --budget 40
    """
    from capsbench.tuning.challenge import challenge as run_challenge
    from capsbench.tuning.challenge import make_request
    from capsbench.tuning.search import Search
    from capsbench.tuning.tune import plan_search, tune

    named = {**asked, "measure": measure, "baseline": baseline}
    options = parse_options([*(axis or []), *parse_flags(context.args)], named)
    request: dict[str, Any] = {**named, **options}
    request = {name: value for name, value in request.items() if value is not None}
    with suggest_flags(context):
        refuse_arguments(options, run_challenge, tune, plan_search)
        print_plan = partial(print_search, out=out, data_dir=data_dir, as_json=as_json)
        if dry_run:
            chosen = make_request(contender, against, request)
            print_plan(*plan_search(Search(budget, studies), data_dir=data_dir, **chosen, **request))
            return
        told = {} if as_json else {"on_plan": print_plan}  # a program gets one object, at the end
        tuned = run_challenge(
            contender,
            against=against,
            budget=budget,
            studies=studies,
            out=str(out),
            data_dir=data_dir,
            workers=workers,
            command=shlex.join(["capsbench", *sys.argv[1:]]),
            **told,
            **request,
        )
    if tuned.results is None:
        print_outcome_of_trials(tuned.trials, out, as_json)
        return
    answered = None if tuned.results.left else _find_answer(contender, tuned, out)
    try:
        print_outcome(tuned.results, out, as_json, {**tuned.facts, **_to_facts(answered)})
    finally:
        if answered is not None and not as_json:
            print_answer(answered)
            print_line(f"the page: {_find_page(answered)}")
        elif not (tuned.results.left or as_json):
            print_line(f"no answer: {contender} has no result, since its trainings failed")
    if tuned.without_winner:
        raise typer.Exit(EXIT_FAILED)


def _find_answer(contender: str, tuned: Tuned, out: Path) -> Report | None:
    """Returns the report with the answer; None if the contender has no result, since its trainings failed."""
    from capsbench.reporting.build import report

    try:
        # The folder may have earlier challenges too, with another budget or of the class before it was edited.
        return report(out, for_=contender, last=True)
    except UsageError:
        if not (tuned.without_winner or (tuned.results and tuned.results.failed)):
            raise
        return None


def _to_facts(answered: Report | None) -> dict[str, Any]:
    """Returns what a program is told of an answer: its sentences, the numbers behind them, and the page."""
    if answered is None or answered.answer is None:
        return {"answer": None, "page": None}
    sentences = [asdict(statement) for statement in answered.answer.statements]
    numbers = json.loads(answered.answer.numbers.to_json(orient="records"))
    return {"answer": {"sentences": sentences, "numbers": numbers}, "page": str(_find_page(answered))}


def _find_page(answered: Report) -> Path:
    from capsbench.reporting.build import PAGE

    return next(path for path in answered.files if path.name == PAGE)
