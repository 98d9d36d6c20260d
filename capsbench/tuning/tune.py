"""`capsbench.tune`: the settings of every contender searched for with the same budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from capsbench.api import OnCount, plan
from capsbench.errors import Kind, UsageError
from capsbench.planning.count import MAX_CELLS, check_count
from capsbench.planning.defaults import SECONDS_BETWEEN_CHECKPOINTS, STUDIES, TRIALS
from capsbench.planning.request import AUTO, EPOCHS, split_values, start_search
from capsbench.planning.weights import refuse_given
from capsbench.records.tuning import Sampler
from capsbench.running.machines import Machines
from capsbench.tuning.contenders import Contender, list_contenders
from capsbench.tuning.epochs import FACTORS, change_epochs
from capsbench.tuning.learning import import_optuna
from capsbench.tuning.search import Search, parse_spaces
from capsbench.tuning.tuner import Tuned, Tuner

OnPlan = Callable[[list[Contender], list[str]], None]


def tune(
    *,
    trials: int = TRIALS,
    studies: int = STUDIES,
    study_seed: int = 0,
    sampler: Sampler = "random",
    space: str | Sequence[str] = (),
    suite: str | Path | None = None,
    out: str | Path = "results",
    data_dir: str | Path | None = None,
    workers: int | None = None,
    executor: str = "local",
    per_gpu: int = 1,
    cell_timeout: str | float | None = None,
    slurm: Mapping[str, str] | None = None,
    cells_per_job: int | None = None,
    detach: bool = False,
    ray_address: str | None = None,
    checkpoint_seconds: float = SECONDS_BETWEEN_CHECKPOINTS,
    command: str = "capsbench.tune",
    console: Console | None = None,
    max_cells: int = MAX_CELLS,
    on_plan: OnPlan = lambda contenders, remarks: None,
    **request: Any,
) -> Tuned:
    """Searches for settings of each contender of a request, CNNs included, and trains the winners anew with fresh seeds.

    Every contender gets the same number of trials. A trial is one training with settings drawn at random from the contender's
    spaces, judged by its validation performance; it reads no test image. The trials are divided into studies without a trial in
    common, and the winner of each is trained with the seeds of the request, other ones in each study. What the request names is
    not tuned. The same call goes on after an interruption, and several machines may share a folder.

    With ``epochs="auto"`` each winner is then trained anew with 2, 4 and 8 times the epochs as long as it is still improving, as
    by `capsbench.converge`, and the results have the epochs that were found.

    Args:
        trials: the trials of each contender, over all its studies.
        studies: the parts into which they are divided.
        study_seed: decides the settings that are drawn.
        sampler: ``random``; or ``tpe``, which learns from earlier trials (extra ``tune``). It has no budget curves.
        space: spaces that replace declared ones, for every contender that has the name: ``NAME=LOW..HIGH`` or ``NAME=A,B,C``.
        out: the results folder; the trials have one of their own in it, ``trials``.
        on_plan: called with the contenders and remarks on them before the first training.
        request: this and all other arguments are those of `capsbench.run`.

    Raises:
        UsageError: nothing was run; the message says what to change.
        StorageFailed: a result could not be written; those written before stay.
    """
    machines = Machines(
        executor, workers, per_gpu, cell_timeout, slurm, cells_per_job, detach, ray_address, checkpoint_seconds
    )
    contenders, remarks = plan_search(
        Search(trials, studies, study_seed, sampler, parse_spaces(split_spaces(space))),
        suite=suite,
        data_dir=data_dir,
        max_cells=max_cells,
        **request,
    )
    on_plan(contenders, remarks)
    run_cells = partial(machines.run_cells, data_dir=data_dir, command=command, console=console, suite=suite)
    return Tuner(contenders, Path(out), run_cells, remarks).run()


def plan_search(
    search: Search,
    *,
    suite: str | Path | None = None,
    data_dir: str | Path | None = None,
    max_cells: int = MAX_CELLS,
    on_count: OnCount = lambda count: None,
    **request: Any,
) -> tuple[list[Contender], list[str]]:
    """Returns the contenders of a search, and remarks on them; raises UsageError as `tune`."""
    if request.get("shard") is not None:
        problem = "is for `capsbench run`; several machines share a search by the same command"
        raise UsageError(Kind.CONFLICT, problem, flag="shard", value=request["shard"])
    if search.sampler == "tpe":
        import_optuna()
    started = start_search(request)
    if started is not None:
        request, search = started, replace(search, is_prolonged=True)
    planned = plan(suite, data_dir, max_cells=max_cells, on_count=on_count, **request)
    refuse_given(planned.cells, "a search for settings")
    contenders = list_contenders(planned.cells, search)
    for contender in contenders:
        contender.check_spaces()
    if search.sampler == "random":  # what a sampler that learns will draw is not known yet
        for contender in contenders:
            for trial in range(search.trials):
                contender.draw_trial(trial)  # refuses a setting with which no network can be built
    if search.is_prolonged:
        check_prolongable(contenders)
    results = sum(len(contender.seeds) for contender in contenders) * search.studies
    trials = search.trials + search.is_prolonged * search.studies * (len(FACTORS) - 1)
    check_count(len(contenders) * trials + results, max_cells)
    left_out = [f"{name} is left out: {reason}" for name, reason in planned.left_out.items()]
    return contenders, [*planned.remarks, *left_out]


def check_prolongable(contenders: Sequence[Contender]) -> None:
    """Refuses a space of epochs beside a search for them, and epochs that are too many to be prolonged."""
    for contender in contenders:
        if EPOCHS in contender.spaces:
            raise UsageError(Kind.CONFLICT, f"conflicts with {{flag:{EPOCHS}}} {AUTO}", flag="space", value=EPOCHS)
        change_epochs(contender.planned, FACTORS[-1] * contender.planned.cell.epochs)


def split_spaces(space: str | Sequence[str]) -> list[str]:
    """Returns the spaces of a user, each ``NAME=VALUES``; a string is one, since its values may have commas."""
    return [space] if isinstance(space, str) else [str(text) for text in split_values(space)]
