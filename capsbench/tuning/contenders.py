"""The contenders of a search: each gets the same number of trials, and its winners are trained anew with fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from capsbench.errors import FOREIGN, Kind, UsageError, message_of, reason_of
from capsbench.measures.build import NONE
from capsbench.networks.build import parameter_count
from capsbench.planning.matrix import SEED, PlannedCell
from capsbench.planning.refusals import REFUSALS
from capsbench.planning.request import MEASURE_FLAG
from capsbench.records.cell import Cell, Scalar, flag_of, short_name
from capsbench.records.parts import Parts
from capsbench.records.tuning import Tuning, change_settings, read_settings
from capsbench.stats.spaces import Choice, Space
from capsbench.tuning.search import FIRST_TRIAL_SEED, Search, check_spaces_used, draw_setting, find_joined, find_spaces


@dataclass(frozen=True)
class Contender:
    """A contender of a search.

    Attributes:
        planned: its cell before the search, of any seed, with the measures wanted of its results.
        seeds: the seeds of the results of the first study.
        spaces: tuned field or option -> its values.
        search: the search, the same for all contenders.
        joined: option -> the option whose value it takes, see `find_joined`.
    """

    planned: PlannedCell
    seeds: Sequence[int]
    spaces: Mapping[str, Space]
    search: Search
    joined: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """The identity of the contender before the search."""
        return self.planned.cell.contender

    def draw_setting(self, trial: int) -> dict[str, Scalar]:
        """Returns the setting of a trial, drawn at random; trials are numbered over all studies."""
        return self.join(draw_setting(self.drawn, self.search.seed, self.identity, trial))

    @property
    def drawn(self) -> dict[str, Space]:
        """The spaces from which values are drawn: those of the other options follow from them."""
        return {name: space for name, space in self.spaces.items() if name not in self.joined}

    def join(self, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Returns a setting: some values, and those that follow from them."""
        following = {option: values[first] for option, first in self.joined.items() if first in values}
        return {**following, **values}

    def check_spaces(self) -> None:
        """Raises UsageError for a value that the user gave with which no network can be built, alone; it may be drawn late."""
        given = {name for text in self.search.spaces for name in self.drawn if text in (name, short_name(name))}
        for name in sorted(given):
            space = self.drawn[name]
            for value in space.values if isinstance(space, Choice) else (space.low, space.high):
                self._change(self.join({name: value}))

    @property
    def described(self) -> dict[str, str]:
        """The spaces as text; of an option that takes the value of another, ``as`` and that one."""
        return {
            name: f"as {self.joined[name]}" if name in self.joined else str(self.spaces[name]) for name in self.spaces
        }

    def draw_trial(self, trial: int) -> PlannedCell:
        """Returns the training of a trial with a setting that is drawn at random."""
        return self.plan_trial(trial, self.draw_setting(trial))

    def plan_trial(self, trial: int, setting: Mapping[str, Scalar]) -> PlannedCell:
        """Returns the training of a trial, which takes no measure, so that it reads no test image.

        Raises:
            UsageError: there is no such trial, or the network cannot be built with the setting.
        """
        if not 0 <= trial < self.search.trials:
            raise UsageError(Kind.INVALID, flag="trials", expected=f"a trial below {self.search.trials}", value=trial)
        cell = self._change(setting).with_seed(FIRST_TRIAL_SEED + trial)
        study, number = divmod(trial, self.search.trials_of_study)
        request = {**self._describe_request(setting, cell.seed), MEASURE_FLAG: NONE}
        tuning = self._describe(cell, study, number)
        return replace(self.planned, cell=cell, measures=(), request=request, role="trial", tuning=tuning)

    def plan_results(self, study: int, trial: PlannedCell, validation: float | None) -> list[PlannedCell]:
        """Returns the trainings of a study's winner with fresh seeds, which are others in each study.

        Args:
            trial: the winner's.
            validation: its validation performance, higher is better; None if it is not known.
        """
        assert trial.tuning is not None
        setting = read_settings(trial.cell, list(self.spaces))
        tuning = replace(trial.tuning, validation=validation)
        offset = study * (max(self.seeds) + 1)
        planned = []
        for seed in self.seeds:
            cell = self._change(setting).with_seed(seed + offset)
            request = self._describe_request(setting, cell.seed)
            planned.append(replace(self.planned, cell=cell, request=request, tuning=tuning))
        return planned

    def _describe_request(self, setting: Mapping[str, Scalar], seed: int) -> dict[str, Scalar | None]:
        """Returns the request that makes a cell with a setting: what `capsbench run` would be asked for."""
        named = {flag_of(name): value for name, value in setting.items()}
        return {**self.planned.request, **named, flag_of(SEED): seed}

    def _describe(self, cell: Cell, study: int, trial: int) -> Tuning:
        return Tuning(
            contender=self.identity,
            seed=self.search.seed,
            studies=self.search.studies,
            trials=self.search.trials_of_study,
            study=study,
            trial=trial,
            sampler=self.search.sampler,
            space=self.described,
            start=read_settings(self.planned.cell, list(self.spaces)),
            edges=[
                name
                for name, value in read_settings(cell, list(self.spaces)).items()
                if self.spaces[name].is_edge(value)
            ],
        )

    def _change(self, setting: Mapping[str, Scalar]) -> Cell:
        """Returns the contender's cell with a setting; raises UsageError if it fits no network that can be built."""
        spelled = ", ".join(f"{flag_of(name)} {value}" for name, value in setting.items())
        try:
            cell = change_settings(self.planned.cell, setting)
            parts = Parts.from_cell(cell)
            for refuse in REFUSALS:
                refuse(parts, cell.model_dump())
            parameter_count(cell)
        except ValidationError as error:
            raise UsageError(Kind.INVALID, reason_of(error), flag="space", value=spelled) from error
        except UsageError:
            raise
        except FOREIGN as error:
            problem = f"{cell.title} cannot be built: {message_of(error)}"
            raise UsageError(Kind.CONFLICT, problem, flag="space", value=spelled) from error
        return cell


def list_contenders(planned: Sequence[PlannedCell], search: Search) -> list[Contender]:
    """Returns the contenders of a plan.

    Raises:
        UsageError: a space is of no contender, or a contender has nothing to tune; or a seed is one of the trials'.
    """
    by_contender: dict[str, list[PlannedCell]] = {}
    for job in planned:
        by_contender.setdefault(job.cell.contender, []).append(job)
    cells = {identity: jobs[0].cell for identity, jobs in by_contender.items()}
    spaces = {identity: find_spaces(jobs[0], search.spaces) for identity, jobs in by_contender.items()}
    check_spaces_used(search, [*spaces.values()], [*cells.values()])
    contenders = [
        Contender(
            jobs[0],
            [job.cell.seed for job in jobs],
            spaces[identity],
            search,
            find_joined(jobs[0].cell, search.spaces),
        )
        for identity, jobs in by_contender.items()
    ]
    for contender in contenders:
        highest = (max(contender.seeds) + 1) * search.studies
        if highest > FIRST_TRIAL_SEED:
            expected = f"seeds below {FIRST_TRIAL_SEED // search.studies:,}, since trials have those from {FIRST_TRIAL_SEED:,} on"
            raise UsageError(Kind.INVALID, flag="seeds", expected=expected, value=max(contender.seeds))
    return contenders
