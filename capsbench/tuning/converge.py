"""`capsbench.converge`: the epochs of every contender by one rule, and its results with these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from capsbench.api import OnCount, plan
from capsbench.errors import Kind, UsageError
from capsbench.planning.contender_defaults import title_cells
from capsbench.planning.count import MAX_CELLS, check_count
from capsbench.planning.defaults import SECONDS_BETWEEN_CHECKPOINTS
from capsbench.planning.matrix import PlannedCell
from capsbench.planning.request import AUTO, EPOCHS, refuse_beside, start_search
from capsbench.planning.weights import refuse_given
from capsbench.presenting.notebook import Displayed, Output
from capsbench.records.store import Store
from capsbench.records.tuning.convergence import Convergence
from capsbench.running.machines import Machines
from capsbench.running.outcome import Outcome
from capsbench.tuning.epochs import FACTORS, EpochSearch, Ladder, apply_epochs, change_epochs, describe_found, to_facts
from capsbench.tuning.rounds import RunCells, describe_search
from capsbench.tuning.search import FIRST_TRIAL_SEED

NOT_ALLOWED = ("until_decided", "shard", "track", "fresh", "detach")
"""The flags of `capsbench run` that a search for epochs cannot have."""


@dataclass(repr=False)
class Converged(Displayed):
    """The outcome of a search for epochs.

    Attributes:
        trials: the outcome of the trials.
        results: the outcome of the results; None if the trials were not finished.
        epochs: title of a contender -> the search that found its epochs.
    """

    trials: Outcome
    results: Outcome | None = None
    epochs: dict[str, Convergence] = field(default_factory=dict)

    @property
    def interrupted(self) -> bool:
        return (self.trials if self.results is None else self.results).interrupted

    @property
    def facts(self) -> dict[str, Any]:
        """What a program is told beside the outcome: title of a contender -> its epochs, and the search that found them."""
        return {"epochs": {title: to_facts(search) for title, search in self.epochs.items()}}

    def describe_output(self) -> Output:
        """Returns the outcome of the results, and the epochs that were found."""
        return describe_search(self.trials, self.results, [*map(describe_found, self.epochs, self.epochs.values())])


@dataclass(frozen=True)
class Climber:
    """A contender whose epochs are searched for.

    Attributes:
        planned: its results, with the epochs that the search starts from.
    """

    planned: Sequence[PlannedCell]

    @property
    def ladder(self) -> Ladder:
        """Its trials, with other seeds than its results."""
        return Ladder([job.with_seed(FIRST_TRIAL_SEED + job.cell.seed) for job in self.planned])

    def plan_results(self, search: Convergence) -> list[PlannedCell]:
        """Returns the trainings with the epochs that a search found."""
        return apply_epochs(self.planned, search)


def converge(
    *,
    epochs: int | str = AUTO,
    suite: str | Path | None = None,
    out: str | Path = "results",
    data_dir: str | Path | None = None,
    workers: int | None = None,
    executor: str = "local",
    per_gpu: int = 1,
    cell_timeout: str | float | None = None,
    slurm: Mapping[str, str] | None = None,
    cells_per_job: int | None = None,
    ray_address: str | None = None,
    checkpoint_seconds: float = SECONDS_BETWEEN_CHECKPOINTS,
    command: str = "capsbench.converge",
    console: Console | None = None,
    max_cells: int = MAX_CELLS,
    on_count: OnCount = lambda count: None,
    **request: Any,
) -> Converged:
    """Finds the epochs of each contender of a request, CNNs included, by one rule, and trains and measures it with these.

    Trials of each contender are trained with the epochs of its recipe. If its validation error is still improving, by the rule
    that marks contenders in reports, it is trained anew with twice the epochs, and so on up to 8 times, each time with a whole
    schedule. The trials have seeds of their own and read no test image. The same call goes on after an interruption, and several
    machines may share a folder.

    Args:
        epochs: those that the search starts from; ``auto`` for those of the suite, the network or the data set.
        out: the results folder; the trials have one of their own in it, ``trials``.
        request: this and all other arguments are those of `capsbench.run`.

    Raises:
        UsageError: nothing was run; the message says what to change.
        StorageFailed: a result could not be written; those written before stay.
    """
    machines = Machines(
        executor, workers, per_gpu, cell_timeout, slurm, cells_per_job, False, ray_address, checkpoint_seconds
    )
    climbers, remarks = plan_climbers(
        epochs, suite=suite, data_dir=data_dir, max_cells=max_cells, on_count=on_count, **request
    )
    run_cells = partial(machines.run_cells, data_dir=data_dir, command=command, console=console, suite=suite)
    return run_search(climbers, Path(out), run_cells, remarks)


def run_search(
    climbers: Sequence[Climber], folder: Path, run_cells: RunCells, remarks: Sequence[str] = ()
) -> Converged:
    """Searches for the epochs of some contenders, and runs their results.

    Args:
        folder: the results folder.
        run_cells: runs some cells.
        remarks: lines for the user, before the first cells.
    """
    Store(folder).check_writable()  # also makes it a results folder while there are trials alone
    search = EpochSearch([climber.ladder for climber in climbers], folder, run_cells, remarks)
    converged = Converged(search.run())
    if not search.found:
        return converged
    searches = dict(zip(_title_climbers(climbers), search.found, strict=True))
    lines = [*map(describe_found, searches, search.found)]
    planned = [
        job for climber, result in zip(climbers, search.found, strict=True) for job in climber.plan_results(result)
    ]
    converged.epochs, converged.results = searches, run_cells(planned, Store(folder), lines)
    return converged


def plan_climbers(
    epochs: int | str = AUTO,
    *,
    suite: str | Path | None = None,
    data_dir: str | Path | None = None,
    max_cells: int = MAX_CELLS,
    on_count: OnCount = lambda count: None,
    **request: Any,
) -> tuple[list[Climber], list[str]]:
    """Returns the contenders of a request and remarks on them; raises UsageError as `converge`."""
    refuse_beside(f"{{flag:{EPOCHS}}} {AUTO}", **{name: request.get(name) for name in NOT_ALLOWED})
    asked = {name: value for name, value in request.items() if name not in NOT_ALLOWED} | {EPOCHS: epochs}
    started = start_search(asked)
    planned = plan(suite, data_dir, max_cells=max_cells, on_count=on_count, **(asked if started is None else started))
    refuse_given(planned.cells, f"{{flag:{EPOCHS}}} {AUTO}")
    by_contender: dict[str, list[PlannedCell]] = {}
    for job in planned.cells:
        by_contender.setdefault(job.cell.contender, []).append(job)
    climbers = [Climber(jobs) for jobs in by_contender.values()]
    highest = max((job.cell.seed for job in planned.cells), default=0)
    if highest >= FIRST_TRIAL_SEED:
        expected = f"seeds below {FIRST_TRIAL_SEED:,}, since trials have those from there on"
        raise UsageError(Kind.INVALID, flag="seeds", expected=expected, value=highest)
    for climber in climbers:
        change_epochs(climber.planned[0], FACTORS[-1] * climber.planned[0].cell.epochs)  # refuses too many
    check_count(len(planned.cells) * (len(FACTORS) + 1), max_cells)
    left_out = [f"{name} is left out: {reason}" for name, reason in planned.left_out.items()]
    return climbers, [*planned.remarks, *left_out]


def _title_climbers(climbers: Sequence[Climber]) -> list[str]:
    cells = [climber.planned[0].cell for climber in climbers]
    titles = title_cells(cells)
    return [titles[cell.id].rpartition(", seed ")[0] for cell in cells]
