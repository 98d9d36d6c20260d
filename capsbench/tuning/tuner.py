"""Tunes the contenders of a plan: trains the trials of all, chooses the winners, and trains these anew with fresh seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from capsbench.planning.contender_defaults import title_cells
from capsbench.planning.matrix import PlannedCell
from capsbench.presenting.notebook import Displayed, Output
from capsbench.records.store import Store
from capsbench.records.tuning.convergence import Convergence
from capsbench.records.tuning.trials import open_trials, read_validation
from capsbench.running.on_record import find_records
from capsbench.running.outcome import Outcome
from capsbench.tuning.contenders import Contender
from capsbench.tuning.epochs import EpochSearch, Ladder, apply_epochs, describe_found, to_facts
from capsbench.tuning.learning import LearningSampler
from capsbench.tuning.rounds import RunCells, describe_search, remove_weights
from capsbench.tuning.selection import replay_studies


@dataclass(repr=False)
class Tuned(Displayed):
    """The outcome of a tuning.

    Attributes:
        trials: the outcome of the trials.
        results: the outcome of the winners with fresh seeds; None if the trials were not finished.
        without_winner: titles of the contenders, with the study, of which no trial could be trained.
        epochs: title of a contender, with the study, -> the search that found its epochs; empty if these were fixed.
    """

    trials: Outcome
    results: Outcome | None = None
    without_winner: list[str] = field(default_factory=list)
    epochs: dict[str, Convergence] = field(default_factory=dict)

    @property
    def interrupted(self) -> bool:
        return (self.trials if self.results is None else self.results).interrupted

    @property
    def facts(self) -> dict[str, Any]:
        """What a program is told beside the outcome: studies without a winner, and the epochs that were found."""
        epochs = {title: to_facts(search) for title, search in self.epochs.items()}
        return {"without_winner": self.without_winner, "epochs": epochs}

    def describe_output(self) -> Output:
        """Returns the outcome of the winners, or of the trials if these are not finished."""
        found = map(describe_found, self.epochs, self.epochs.values())
        missing = (f"{title}: no winner" for title in self.without_winner)
        return describe_search(self.trials, self.results, [*found, *missing])


class WinnerOfStudy(NamedTuple):
    """The winner of a study of a contender: its trial, and the validation performance of that."""

    title: str
    contender: Contender
    study: int
    trial: PlannedCell
    validation: float

    def plan_results(self, search: Convergence | None) -> list[PlannedCell]:
        """Returns its trainings with fresh seeds, with the epochs that a search found if there was one."""
        planned = self.contender.plan_results(self.study, self.trial, self.validation)
        return planned if search is None else apply_epochs(planned, search)


@dataclass
class Tuner:
    """A search for the settings of some contenders, in phases with a barrier between them: trials, epochs if asked for, results.

    Each phase is a run of cells, of which those on record are not run again. So an interrupted search goes on with the same call,
    and several machines that share the folder share its trials and come to the same winners.

    Args:
        contenders: of one search.
        folder: the results folder.
        run_cells: runs the cells of a phase.
        remarks: lines for the user, before the trials.
    """

    contenders: Sequence[Contender]
    folder: Path
    run_cells: RunCells
    remarks: Sequence[str] = ()

    def run(self) -> Tuned:
        """Runs the search; Ctrl-C ends it, and the same call later goes on from there."""
        Store(self.folder).check_writable()  # also makes it a results folder while there are trials alone
        store = open_trials(self.folder)
        outcome, drawn = Outcome(), 0
        for number, trials in enumerate(self.plan_rounds()):
            earlier, outcome = outcome, self.run_cells(trials, store, () if number else self.remarks)
            outcome.add_earlier(earlier)
            drawn += len(trials)
            if outcome.interrupted or outcome.left:
                outcome.undrawn = len(self.contenders) * self.contenders[0].search.trials - drawn
                return Tuned(outcome)
        remove_weights(store)
        winners, missing = self.list_winners()
        tuned = Tuned(outcome, without_winner=missing)
        lines = [f"{title}: no trial could be trained" for title in missing]
        searches: list[Convergence | None] = [None] * len(winners)
        if self.contenders[0].search.is_prolonged:
            prolonging = EpochSearch(
                [Ladder([winner.trial]) for winner in winners], self.folder, self.run_cells, are_started=True
            )
            prolonged = prolonging.run()
            prolonged.add_earlier(outcome)
            if prolonged.interrupted or prolonged.left:
                return replace(tuned, trials=prolonged)
            searches = [*prolonging.found]
            tuned.epochs = dict(zip((winner.title for winner in winners), prolonging.found, strict=True))
            lines += map(describe_found, tuned.epochs, tuned.epochs.values())
        results = [job for winner, search in zip(winners, searches, strict=True) for job in winner.plan_results(search)]
        tuned.results = self.run_cells(results, Store(self.folder), lines)
        return tuned

    def plan_rounds(self) -> Iterator[list[PlannedCell]]:
        """Yields the trials, those together that may be trained in any order.

        Random settings make one round. A sampler that learns makes as many as a study has trials: a trial of each study a round.
        """
        search = self.contenders[0].search
        if search.sampler == "random":
            numbers = range(search.trials)
            yield [contender.draw_trial(number) for contender in self.contenders for number in numbers]
            return
        samplers = [
            LearningSampler(contender, study) for contender in self.contenders for study in range(search.studies)
        ]
        for _ in range(search.trials_of_study):
            trials = [sampler.suggest() for sampler in samplers]
            yield trials
            records = find_records(trials, open_trials(self.folder))
            for sampler, trial in zip(samplers, trials, strict=True):
                sampler.observe(read_validation(records.get(trial.cell.id)))

    def list_winners(self) -> tuple[list[WinnerOfStudy], list[str]]:
        """Returns the winners of all studies, and the titles of the contenders and studies without one."""
        winners: list[WinnerOfStudy] = []
        missing: list[str] = []
        titles = title_cells(contender.planned.cell for contender in self.contenders)
        for contender in self.contenders:
            for study, (trials, winner) in enumerate(replay_studies(contender, self.folder)):
                title = f"{titles[contender.planned.cell.id].rpartition(', seed ')[0]}, study {study + 1}"
                if winner is None:
                    missing.append(title)
                else:
                    winners.append(WinnerOfStudy(title, contender, study, trials[winner.trial], winner.validation))
        return winners, missing
