"""The choice of winners, by validation performance alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from capsbench.planning.matrix import PlannedCell
from capsbench.records.tuning.trials import open_trials, read_validation
from capsbench.running.on_record import find_records
from capsbench.tuning.contenders import Contender
from capsbench.tuning.learning import LearningSampler


class Winner(NamedTuple):
    """The trial with the best validation performance of a study, and that performance; higher is better."""

    trial: int
    validation: float


def select_winner(performances: Sequence[float]) -> Winner | None:
    """Returns the best trial, of equal ones the first; None if all failed.

    Args:
        performances: validation performance of each trial in order.
    """
    best = max(range(len(performances)), key=lambda trial: performances[trial])
    return Winner(best, performances[best]) if math.isfinite(performances[best]) else None


def replay_studies(contender: Contender, folder: Path) -> Iterator[tuple[list[PlannedCell], Winner | None]]:
    """Yields the trials of each study of a contender, and its winner by the records of a results folder."""
    store, search = open_trials(folder), contender.search
    for study in range(search.studies):
        if search.sampler == "random":
            first = study * search.trials_of_study
            trials = [contender.draw_trial(trial) for trial in range(first, first + search.trials_of_study)]
        else:
            trials = _replay_learning(contender, study, folder)
        records = find_records(trials, store)
        yield trials, select_winner([read_validation(records.get(trial.cell.id)) for trial in trials])


def _replay_learning(contender: Contender, study: int, folder: Path) -> list[PlannedCell]:
    """Returns the trials of a sampler that learns, each from the records of those before."""
    sampler, trials = LearningSampler(contender, study), []
    for _ in range(contender.search.trials_of_study):
        trial = sampler.suggest()
        records = find_records([trial], open_trials(folder))
        sampler.observe(read_validation(records.get(trial.cell.id)))
        trials.append(trial)
    return trials
