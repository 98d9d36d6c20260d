"""The contenders of a request for a tuner of the user's own, such as a study of Optuna's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from capsbench.errors import CallInterrupted, Kind, UsageError, end_at_interrupt
from capsbench.planning.contender_defaults import title_cells
from capsbench.planning.defaults import TRIALS
from capsbench.planning.matrix import PlannedCell
from capsbench.records.cell import Scalar
from capsbench.records.store import Store
from capsbench.records.tuning import Tuning
from capsbench.records.tuning.trials import open_trials, read_trials, read_validation
from capsbench.running.machines import Machines
from capsbench.running.outcome import Outcome
from capsbench.stats.spaces import Choice, Space
from capsbench.tuning.contenders import Contender
from capsbench.tuning.epochs import EpochSearch, Ladder, apply_epochs
from capsbench.tuning.rounds import RunCells, remove_weights
from capsbench.tuning.search import Search, parse_spaces
from capsbench.tuning.tune import plan_search, split_spaces

if TYPE_CHECKING:
    from optuna.trial import Trial


@dataclass(frozen=True)
class TunableContender:
    """A contender whose settings the user's own tuner chooses.

    Attributes:
        title: its name.
        spaces: field or option -> its space (`capsbench.stats.spaces`).
    """

    title: str
    spaces: Mapping[str, Space]
    _contender: Contender
    _folder: Path
    _run_cells: RunCells

    def suggest(self, trial: Trial) -> dict[str, Scalar]:
        """Returns a setting from a trial of Optuna's, one value a space; options that share a name of yours have one space."""
        return {name: _suggest_value(trial, name, space) for name, space in self._contender.drawn.items()}

    def validate(self, number: int, setting: Mapping[str, Scalar]) -> float:
        """Trains with a setting, and returns the validation performance; a trial on record is not trained again.

        Args:
            number: the number of the trial, from 0 and below the ``trials`` of `contenders`.
            setting: field or option -> value.

        Returns:
            The validation accuracy, or minus the validation loss of a network that does not classify; nan if the training failed.

        Raises:
            UsageError: the network cannot be built with the setting, or the trial of that number has another on record: it would
                be a trial more than reports count.
        """
        planned = self._contender.plan_trial(number, self._contender.join(setting))
        self._refuse_second_setting(number, planned)
        store = open_trials(self._folder)
        outcome = self._run_cells([planned], store, ())
        if outcome.interrupted:
            raise CallInterrupted(outcome.describe_end(), outcome)
        validation = read_validation(store.find(planned.cell))
        return validation if math.isfinite(validation) else math.nan

    @end_at_interrupt
    def train_results(self, number: int, setting: Mapping[str, Scalar]) -> Outcome:
        """Trains with the setting of a trial and the seeds of the request, and takes the measures.

        With ``epochs="auto"`` in the request, the epochs are searched for before, as in `capsbench.tune`.

        Reports show these networks as one tuned contender.

        Args:
            number, setting: those of the trial that won.

        Raises:
            UsageError: there is no such trial on record that could be trained.
        """
        planned = self._contender.plan_trial(number, self._contender.join(setting))
        validation = read_validation(open_trials(self._folder).find(planned.cell))
        if not math.isfinite(validation):
            problem = "no trial with this number and setting was validated"
            raise UsageError(
                Kind.MISSING, problem, flag="trials", value=number, expected="call validate with them before"
            )
        study = number // self._contender.search.trials_of_study
        results = self._contender.plan_results(study, planned, validation)
        if self._contender.search.is_prolonged:
            search = EpochSearch([Ladder([planned])], self._folder, self._run_cells, are_started=True)
            outcome = search.run()
            if not search.found:
                return outcome
            results = apply_epochs(results, search.found[0])
        remove_weights(open_trials(self._folder))
        return self._run_cells(results, Store(self._folder), ())

    def _refuse_second_setting(self, number: int, planned: PlannedCell) -> None:
        place = _find_place(planned.tuning)
        for trial in read_trials(self._folder):
            if _find_place(trial.tuning) == place and trial.cell.id != planned.cell.id:
                problem = "the trial of this number is on record with another setting"
                remedy = "one setting a number, and a folder (out) for each search"
                raise UsageError(Kind.CONFLICT, problem, flag="trials", value=number, expected=remedy)


def _find_place(tuning: Tuning | None) -> Tuning | None:
    """Returns the place of a trial in its search, without what follows from its setting."""
    return tuning and replace(tuning, edges=[])


def _suggest_value(trial: Trial, name: str, space: Space) -> Scalar:
    if isinstance(space, Choice):
        value: Any = trial.suggest_categorical(name, space.values)
        return value
    return trial.suggest_float(name, space.low, space.high, log=space.is_logarithmic)


def contenders(
    *,
    trials: int = TRIALS,
    studies: int = 1,
    space: str | Sequence[str] = (),
    suite: str | Path | None = None,
    out: str | Path = "results",
    data_dir: str | Path | None = None,
    workers: int | None = None,
    console: Console | None = None,
    **request: Any,
) -> list[TunableContender]:
    """Returns the contenders of a request, CNNs included, for a tuner of your own.

    Args:
        trials: the trials that each will have, which the report names.
        studies: the parts that they belong to: trials 0 to ``trials / studies - 1`` to the first, and so on.
        space, suite, out, data_dir, workers, console, request: as in `capsbench.tune`.

    Raises:
        UsageError: as `capsbench.tune`.
    """
    search = Search(trials, studies, 0, "own", parse_spaces(split_spaces(space)))
    found, _ = plan_search(search, suite=suite, data_dir=data_dir, **request)
    machines = Machines(workers=workers)
    run_cells = partial(machines.run_cells, data_dir=data_dir, command="capsbench.contenders", console=console)
    titles = title_cells(contender.planned.cell for contender in found)
    return [
        TunableContender(
            titles[contender.planned.cell.id].rpartition(", seed ")[0],
            contender.spaces,
            contender,
            Path(out),
            run_cells,
        )
        for contender in found
    ]
