"""The settings of a search: how many trials each contender gets, and which setting each trial has.

The setting of a trial follows from the seed of the search, the contender and the trial's number alone. It depends neither on the
order in which trials end nor on where they run, so several machines can share a search.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import ValidationError

from capsbench import registry
from capsbench.errors import Kind, UsageError, reason_of
from capsbench.planning.count import MOST_TRIALS
from capsbench.planning.defaults import STUDIES, TRIALS
from capsbench.planning.matrix import PlannedCell
from capsbench.planning.options import parse_option
from capsbench.planning.request import WEIGHTS
from capsbench.records.cell import FIELDS, TARGET, Cell, Scalar, asked_fields, fields_of, flag_of, short_name
from capsbench.records.declaration import Role
from capsbench.records.parts import Part, Parts
from capsbench.records.tuning import Sampler, change_settings
from capsbench.stats.spaces import Choice, Range, Space, parse_space

FIRST_TRIAL_SEED = 1_000_000
"""The seed of the first trial of a search: the seeds of trials are others than those of results."""

SPACE_FLAG = "space"

# Another task, machine, seed or component is another contender, and so is a CNN of another size: none is a setting of one.
TUNABLE = [
    name
    for name in fields_of(Role.NETWORK, Role.OWN, Role.BUDGET)
    if name in asked_fields().values() and name not in (*registry.BUILT_IN, WEIGHTS)
]
"""The fields of a cell that a search may change."""

LEARNS_AFTER = 10
"""The first trials of a study, which a sampler that learns draws at random."""

SAMPLERS = ("random", "tpe")
"""The samplers of `capsbench tune`."""


@dataclass(frozen=True)
class Search:
    """A search for the settings of some contenders.

    Attributes:
        trials: the trials of a contender, of all its studies.
        studies: the parts into which they are divided; each has a winner.
        seed: decides the settings that are drawn.
        sampler: ``random``; ``tpe``: Optuna's TPE, which learns from the earlier trials of a study; or ``own``: the user's tuner
            chooses the settings.
        spaces: field or option -> the space that replaces the declared one, for every contender that has it.
        is_prolonged: search for the epochs of each winner, which start from those of the trials.
    """

    trials: int = TRIALS
    studies: int = STUDIES
    seed: int = 0
    sampler: Sampler = "random"
    spaces: Mapping[str, Space] = field(default_factory=dict)
    is_prolonged: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.trials <= MOST_TRIALS:
            raise UsageError(Kind.INVALID, flag="trials", expected=f"1 to {MOST_TRIALS:,}", value=self.trials)
        if not 1 <= self.studies <= self.trials or self.trials % self.studies:
            expected = f"a divisor of the {self.trials} trials, so that each study has as many"
            raise UsageError(Kind.INVALID, flag="studies", expected=expected, value=self.studies)
        if not 0 <= self.seed < 2**31:
            raise UsageError(Kind.INVALID, flag="study_seed", expected="0 or more", value=self.seed)
        if self.sampler not in get_args(Sampler):
            raise UsageError(Kind.UNKNOWN, flag="sampler", value=self.sampler, expected=SAMPLERS)
        if self.sampler == "tpe" and self.trials_of_study <= LEARNS_AFTER:
            problem = f"it learns after {LEARNS_AFTER} trials of a study, which has {self.trials_of_study}"
            remedy = "more trials ({flag:trials}), or fewer studies ({flag:studies})"
            raise UsageError(Kind.CONFLICT, problem, flag="sampler", value=self.sampler, expected=remedy)

    @property
    def trials_of_study(self) -> int:
        return self.trials // self.studies


def draw_setting(spaces: Mapping[str, Space], seed: int, contender: str, trial: int) -> dict[str, Scalar]:
    """Returns the setting of a trial, drawn at random from its spaces.

    Each value depends on its own name only, so that another space for one name leaves the values of the others.

    Args:
        seed: that of the search.
        contender: the identity of the contender before the search.
        trial: the number of the trial among all of the contender, from 0.
    """
    return {name: space.draw(_draw_share(seed, contender, trial, name)) for name, space in spaces.items()}


def _draw_share(seed: int, contender: str, trial: int, name: str) -> float:
    """Returns a number in [0, 1), uniform over trials."""
    digest = hashlib.sha256(f"{seed}/{contender}/{trial}/{name}".encode()).digest()
    # 53 bits, as many as a float has, so that no share is rounded up to 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def find_spaces(planned: PlannedCell, overrides: Mapping[str, Space]) -> dict[str, Space]:
    """Returns field or option -> its space, for a contender.

    Those are the spaces that fields of the Cell declare, and those of its network, routing and loss. What the user's request
    names stays as it is there, unless an override gives it a space.
    """
    cell = planned.cell
    spaces: dict[str, Space] = {name: declared.space for name, declared in FIELDS.items() if declared.space}
    for component, part in Parts.from_cell(cell).by_field.items():
        for name, space in _read_declared(component, part).items():
            option = f"{component}.{name}"
            spaces[option if option in cell.options else _check_field(component, part, name)] = space
    if not cell.reconstruction:
        spaces.pop("reconstruction_weight", None)
    fixed = {canonical for name in planned.request for canonical in _find_names(name, cell)}
    spaces = {name: space for name, space in spaces.items() if name not in fixed}
    replaced: dict[str, Space] = {}
    for name, space in overrides.items():
        for found in _find_tunable(name, cell):
            if found in replaced:
                raise UsageError(Kind.CONFLICT, "given twice", flag=SPACE_FLAG, value=name)
            replaced[found] = _convert_choices(space, cell, found)
    spaces |= replaced
    return {name: spaces[name] for name in sorted(spaces)}


def find_joined(cell: Cell, overrides: Collection[str]) -> dict[str, str]:
    """Returns option -> the first option of those for which a name of the user's stands: as a flag, it gives all one value."""
    return {
        option: first
        for name in overrides
        for first, *others in [_find_tunable(name, cell) or [""]]
        for option in others
    }


def _read_declared(component: str, part: Part) -> Mapping[str, Space]:
    """Returns the spaces that a network, routing or loss declares; raises UsageError for what a user's own declares otherwise."""
    declared = getattr(part.component, "spaces", {}) if component != "dataset" else {}  # its options are the task's
    if isinstance(declared, Mapping) and all(isinstance(space, Range | Choice) for space in declared.values()):
        return declared
    problem, expected = (
        "it declares spaces that are none",
        "a dictionary from options to Range(LOW, HIGH) or Choice((A, B))",
    )
    raise UsageError(Kind.INVALID, problem, flag=component, value=part.name, expected=expected)


def _check_field(component: str, part: Part, name: str) -> str:
    if name in TUNABLE:
        return name
    problem = f"it declares a space of {name}, which is neither an option of its own nor a setting that is tuned"
    raise UsageError(Kind.INVALID, problem, flag=component, value=part.name)


def _find_names(name: str, cell: Cell) -> list[str]:
    """Returns the field or the options of a cell that a name stands for: a field, its flag, an option, or its short name."""
    fields = [field for field in FIELDS if name in (field, flag_of(field))]
    return fields or [option for option in cell.options if name in (option, short_name(option))]


def _find_tunable(name: str, cell: Cell) -> list[str]:
    """Returns what `_find_names` does, as far as a cell has it; raises UsageError for what makes another contender of it."""
    found = _find_names(name, cell)
    tunable = [
        option
        for option in found
        if option in TUNABLE or ("." in option and option != TARGET and not option.startswith("dataset."))
    ]
    if found and not tunable:
        problem = "no setting of a contender: it makes another contender, another task or another machine"
        raise UsageError(Kind.INVALID, problem, flag=SPACE_FLAG, value=name)
    return [option for option in tunable if "." in option or getattr(cell, option) is not None]


def _convert_choices(space: Space, cell: Cell, name: str) -> Space:
    """Returns a user's space with its values in the type of the field or option; raises UsageError for a value of another."""
    drawn: tuple[Any, ...] = space.values if isinstance(space, Choice) else (space.low, space.high)
    parts = Parts.from_cell(cell)
    values = []
    for value in drawn:
        try:
            parsed = value if "." not in name else parse_option(parts, name, name, cell.options[name], value)
            changed = change_settings(cell, {name: parsed})
        except ValueError as error:
            raise UsageError(
                Kind.INVALID, _find_reason(error), flag=SPACE_FLAG, value=f"{short_name(name) or name}={value}"
            ) from error
        values.append(changed.options[name] if "." in name else getattr(changed, name))
    if isinstance(space, Choice):
        try:
            return Choice(tuple(values))
        except ValueError as error:
            given = f"{short_name(name) or name}={space}"
            raise UsageError(Kind.INVALID, str(error), flag=SPACE_FLAG, value=given) from error
    if any(isinstance(value, int) for value in values):  # a range would draw fractions
        expected = "a list A,B,..., since it takes whole numbers"
        raise UsageError(Kind.INVALID, flag=SPACE_FLAG, expected=expected, value=f"{short_name(name) or name}={space}")
    return Range(*map(float, values))


def _find_reason(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        return reason_of(error)
    return error.problem or f"expected {error.expected}" if isinstance(error, UsageError) else str(error)


def parse_spaces(texts: Collection[str]) -> dict[str, Space]:
    """Parses ``NAME=LOW..HIGH`` and ``NAME=A,B,C`` of a user; raises UsageError."""
    spaces: dict[str, Space] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        key = name.strip().removeprefix("--").replace("-", "_")
        try:
            if not equals or not key or not values.strip():
                raise ValueError
            space = parse_space(values)
        except ValueError as error:
            expected = "NAME=LOW..HIGH with 0 <= LOW < HIGH, or NAME=A,B,... with values that all differ"
            raise UsageError(Kind.INVALID, flag=SPACE_FLAG, expected=expected, value=text) from error
        if key in spaces:
            raise UsageError(Kind.CONFLICT, "given twice", flag=SPACE_FLAG, value=key)
        spaces[key] = space
    return spaces


def check_spaces_used(search: Search, spaces: Collection[Mapping[str, Space]], cells: Collection[Cell]) -> None:
    """Refuses a space for a name that no contender has, and a search that changes nothing."""
    for name in search.spaces:
        if not any(_find_tunable(name, cell) for cell in cells):
            known = sorted({short_name(found) or found for of_contender in spaces for found in of_contender})
            raise UsageError(Kind.UNKNOWN, flag=SPACE_FLAG, value=name, expected=known)
    if not all(spaces):
        problem = "nothing is left to tune of a contender: every setting with a space is named"
        raise UsageError(Kind.CONFLICT, problem, flag=SPACE_FLAG)
