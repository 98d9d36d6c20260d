"""A sampler that learns from earlier trials: the tree-structured Parzen estimator (Bergstra 2011) of Optuna."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

from capsbench.errors import Kind, UsageError
from capsbench.planning.matrix import PlannedCell
from capsbench.records.cell import Scalar
from capsbench.sources.foreign import import_package
from capsbench.stats.spaces import Choice, Range, Space
from capsbench.tuning.contenders import Contender
from capsbench.tuning.search import LEARNS_AFTER

if TYPE_CHECKING:
    from optuna.trial import Trial


class LearningSampler:
    """The trials of one study, each from the results of those before.

    The same results lead to the same trials, so a study is rebuilt from its records and needs no storage of its own.

    Args:
        contender: whose study it is.
        study: the study, from 0.
    """

    def __init__(self, contender: Contender, study: int) -> None:
        optuna = import_optuna()
        seed = hashlib.sha256(f"{contender.search.seed}/{contender.identity}/{study}".encode()).digest()
        sampler = optuna.samplers.TPESampler(n_startup_trials=LEARNS_AFTER, seed=int.from_bytes(seed[:4], "big"))
        self._contender = contender
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._distributions = {name: to_distribution(space) for name, space in contender.drawn.items()}
        self._trial: Trial | None = None
        self._number = study * contender.search.trials_of_study

    def suggest(self) -> PlannedCell:
        """Returns the next trial."""
        self._trial = self._study.ask(self._distributions)
        spaces = self._contender.spaces
        setting = {name: _round(spaces[name], value) for name, value in self._trial.params.items()}
        return self._contender.plan_trial(self._number, self._contender.join(setting))

    def observe(self, validation: float) -> None:
        """Notes the validation performance of the latest trial; minus infinity if it failed."""
        from optuna.trial import TrialState

        assert self._trial is not None
        if math.isfinite(validation):
            self._study.tell(self._trial, validation)
        else:
            self._study.tell(self._trial, state=TrialState.FAIL)
        self._number += 1


def to_distribution(space: Space) -> Any:
    """Returns a space as a distribution of Optuna."""
    optuna = import_optuna()
    if isinstance(space, Choice):
        return optuna.distributions.CategoricalDistribution(space.values)
    return optuna.distributions.FloatDistribution(space.low, space.high, log=space.is_logarithmic)


def import_optuna() -> Any:
    """Returns the package; raises UsageError if it is not installed."""
    try:
        optuna = import_package("optuna")
    except ModuleNotFoundError as error:
        remedy = "pip install 'capsbench[tune]'"
        raise UsageError(Kind.MISSING, "it needs the package optuna", flag="sampler", expected=remedy) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _round(space: Space, value: Scalar) -> Scalar:
    return space.round(float(value)) if isinstance(space, Range) else value
