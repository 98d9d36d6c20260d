"""A search for epochs: trains anew with 2, 4 and 8 times as many, each time a whole schedule, until a rule says no.

The rule is that of the mark "still improving" of reports, on validation performance. It is the same for every contender.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import ValidationError

from capsbench.errors import Kind, UsageError
from capsbench.measures.build import NONE
from capsbench.planning.matrix import PlannedCell
from capsbench.planning.request import EPOCHS, MEASURE_FLAG
from capsbench.presenting.marks import judge_improvement
from capsbench.presenting.tuned import describe_end
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.records.tuning import change_settings
from capsbench.records.tuning.convergence import MOST_FACTOR, Convergence, Rung
from capsbench.records.tuning.trials import open_trials, read_validation
from capsbench.running.on_record import find_records
from capsbench.running.outcome import Outcome
from capsbench.stats.improvement import NEAR
from capsbench.tuning.rounds import RunCells, remove_weights

FACTORS = (1, 2, 4, MOST_FACTOR)
"""The epochs that a search tries, as multiples of those that it starts from."""


@dataclass(frozen=True)
class Ladder:
    """The search for the epochs of one contender.

    Attributes:
        trials: its trials with the epochs that the search starts from, one a seed.
    """

    trials: Sequence[PlannedCell]

    @property
    def search(self) -> Convergence:
        """The search, before any trial."""
        cell = self.trials[0].cell
        seeds = [trial.cell.seed for trial in self.trials]
        return Convergence(cell.contender, cell.epochs, cell.epochs * MOST_FACTOR, seeds)

    def plan_rung(self, factor: int) -> list[PlannedCell]:
        """Returns the trials with so many times the epochs. They take no measure, so that they read no test image."""
        return [
            replace(
                change_epochs(trial, factor * trial.cell.epochs, {MEASURE_FLAG: NONE}),
                measures=(),
                role="trial",
                tuning=None,
                convergence=self.search,
            )
            for trial in self.trials
        ]

    def read(self, store: Store, most: int = len(FACTORS)) -> Convergence:
        """Returns what the trials on record say, of those with the first numbers of epochs, at most so many of these."""
        tried: list[Rung] = []
        for factor in FACTORS[:most]:
            on_record = find_records(self.plan_rung(factor), store).values()
            records = [record for record in on_record if math.isfinite(read_validation(record))]
            epochs = factor * self.search.start
            if not records:
                tried.append(Rung(epochs))
                break
            tried.append(Rung(epochs, fmean(map(read_validation, records)), judge_trials(records)))
            if tried[-1].is_improving is False:
                break
        return replace(self.search, tried=tried)

    def has_reached(self, rung: int, store: Store) -> bool:
        """Returns true if the trials before one were still improving, or it is not known whether they were."""
        before = self.read(store, rung).tried
        return len(before) == rung and all(
            step.validation is not None and step.is_improving is not False for step in before
        )


def judge_trials(records: Sequence[Record]) -> bool | None:
    """Returns true if the trials of a contender with one number of epochs were still improving, by the rule of reports.

    It is not known of a few epochs, nor of a classifier that is still near chance without improving.
    """
    error, chance = fmean(1 - read_validation(record) for record in records), find_error_at_chance(records[0].cell)
    is_improving = judge_improvement(records, error, chance)
    # A network at chance has not begun to learn, and a flat curve does not say that it never will.
    return None if is_improving is False and error >= NEAR * chance else is_improving


def find_error_at_chance(cell: Cell) -> float:
    """Returns the error of always predicting one class, of classes with as many images each.

    It is infinite for images of several labels, as in reports.
    """
    dataset = dataset_of(cell)
    return 1 - 1 / dataset.classes if dataset.labels_an_image == 1 else math.inf


def change_epochs(planned: PlannedCell, epochs: int, also: dict[str, str] | None = None) -> PlannedCell:
    """Returns a planned cell with other epochs, which its request names too.

    Args:
        also: further names of the request.

    Raises:
        UsageError: no cell has so many epochs.
    """
    request = {**planned.request, EPOCHS: epochs, **(also or {})}
    try:
        cell = change_settings(planned.cell, {EPOCHS: epochs})
    except ValidationError as error:
        problem = f"{FACTORS[-1]} times as many are too many"
        raise UsageError(Kind.CONFLICT, problem, flag=EPOCHS, value=planned.cell.epochs) from error
    return replace(planned, cell=cell, request=request)


def apply_epochs(planned: Sequence[PlannedCell], search: Convergence) -> list[PlannedCell]:
    """Returns planned results with the epochs that a search found."""
    return [replace(change_epochs(job, search.epochs), convergence=search) for job in planned]


def describe_found(title: str, search: Convergence) -> str:
    """Returns a line on the epochs that a search found for a contender."""
    return f"{title}: {search.epochs} epochs, {describe_end(search)}"


def to_facts(search: Convergence) -> dict[str, Any]:
    """Returns the result of a search for epochs for programs: the epochs, why it ended, and what it tried."""
    return {"epochs": search.epochs, "end": describe_end(search), **asdict(search)}


@dataclass
class EpochSearch:
    """The search for the epochs of some contenders, in rounds with a barrier between them.

    A round has the trials of all contenders with one number of epochs. Those on record are not run again, so that an interrupted
    search goes on with the same call, and several machines that share the folder come to the same epochs.

    Args:
        ladders: one a contender.
        folder: the results folder.
        run_cells: runs the cells of a round.
        remarks: lines for the user, before the first round.
        are_started: the trials with the epochs of the start were just run.
    """

    ladders: Sequence[Ladder]
    folder: Path
    run_cells: RunCells
    remarks: Sequence[str] = ()
    are_started: bool = False
    found: list[Convergence] = field(default_factory=list, init=False)
    """The result for each contender, in their order; empty until the search has ended."""

    def run(self) -> Outcome:
        """Runs the search, and returns the outcome of all its rounds; Ctrl-C ends it."""
        store, outcome = open_trials(self.folder), Outcome()
        for rung in range(int(self.are_started), len(FACTORS)):
            climbing = [ladder for ladder in self.ladders if ladder.has_reached(rung, store)]
            if not climbing:
                break
            trials = [trial for ladder in climbing for trial in ladder.plan_rung(FACTORS[rung])]
            earlier, outcome = outcome, self.run_cells(trials, store, () if rung else self.remarks)
            outcome.add_earlier(earlier)
            if outcome.interrupted or outcome.left:
                return outcome
        remove_weights(store)
        self.found = [ladder.read(store) for ladder in self.ladders]
        return outcome
