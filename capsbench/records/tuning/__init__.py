"""How the settings of a network were found: the part of a record that a search writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import FiniteFloat, StringConstraints

from capsbench.records.cell import Cell, Count, CountFromZero, Scalar

Name = Annotated[str, StringConstraints(max_length=1000)]

TUNED = "tuning.tuned"
"""The option that tells a tuned contender from one with the settings that its search started from, in tables and pictures."""

SEARCH = "tuning.search"
"""The option that tells contenders of two searches with the same budget apart."""

USUAL_STUDIES = 4
"""The studies of a search that names no other number; the mark of a search tells any other."""

Sampler = Literal["random", "tpe", "own"]


@dataclass(frozen=True)
class Tuning:
    """The search that a trial belongs to, or that found the settings of a result.

    Attributes:
        contender: identity of the contender with the settings that the search started from.
        seed: the seed of the search.
        studies: the number of studies of each contender.
        trials: the number of trials of each study.
        study: the study, from 0.
        trial: the trial in its study, from 0; of a result, the winner.
        sampler: ``random``; ``tpe``, which learns from earlier trials; or ``own``, a tuner of the user's.
        space: tuned field or option -> the values that it was drawn from.
        start: tuned field or option -> its value where the search started.
        edges: the tuned fields and options whose values are at the edge of their spaces.
        validation: of a result, the validation performance by which the winner was chosen; higher is better.
    """

    contender: Annotated[str, StringConstraints(pattern="^[0-9a-f]{12}$")]
    seed: CountFromZero
    studies: Count
    trials: Count
    study: CountFromZero
    trial: CountFromZero
    sampler: Sampler = "random"
    space: Mapping[Name, Name] = field(default_factory=dict)
    start: Mapping[Name, Scalar] = field(default_factory=dict)
    edges: Sequence[Name] = field(default_factory=list)
    validation: FiniteFloat | None = None

    @property
    def budget(self) -> str:
        """The budget of the search, for people: ``4 x 5 trials``."""
        return f"{self.studies} x {self.trials} trials" if self.studies > 1 else f"{self.trials} trials"


def change_settings(cell: Cell, setting: Mapping[str, Scalar]) -> Cell:
    """Returns a cell with other values of some fields and options, validated; raises pydantic's ValidationError."""
    fields: dict[str, Any] = {name: value for name, value in setting.items() if "." not in name}
    options = {name: value for name, value in setting.items() if "." in name}
    return Cell.model_validate({**cell.model_dump(), **fields, "options": {**cell.options, **options}})


def read_settings(cell: Cell, names: Sequence[str]) -> dict[str, Scalar]:
    """Returns field or option -> its value, for some names of a cell."""
    return {name: cell.options[name] if "." in name else getattr(cell, name) for name in names}
