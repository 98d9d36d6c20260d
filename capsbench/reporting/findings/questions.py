"""The questions that a page of findings answers, as a TOML file declares them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

SupportedIf = Literal["better", "worse", "higher", "lower"]


class AskedNumber(BaseModel):
    """A number of capsule networks that a saying is about, against that of their CNNs.

    Attributes:
        measure: the measure that takes it.
        metric: its metric; every contest of the measure if None.
        condition, title: of a metric that no contest is about.
        supported_if: the difference of the capsule network that supports the saying.
        datasets: the only data sets that count; all if empty.
        equal_size: only CNNs with as many parameters as the capsule network count.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    measure: str
    metric: str | None = None
    condition: str | None = None
    title: str | None = None
    supported_if: SupportedIf = "better"
    datasets: tuple[str, ...] = ()
    equal_size: bool = False

    @model_validator(mode="after")
    def check_whole(self) -> AskedNumber:
        """Raises ValueError for a title without a metric and a condition."""
        if self.title is not None and None in (self.metric, self.condition):
            raise ValueError("a number with a title needs a metric and a condition")
        return self


class Saying(BaseModel):
    """What people say of capsule networks, and what supports it.

    Attributes:
        title: the saying.
        question: how it is decided, as a question.
        decide: a command whose records would decide it, or test it further.
        claims: numbers of the claims that state it.
        denials: numbers of the claims that state its opposite.
        numbers: differences that it is about.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    question: str
    decide: str
    claims: tuple[int, ...] = ()
    denials: tuple[int, ...] = ()
    numbers: tuple[AskedNumber, ...] = ()


class ClaimCommand(BaseModel):
    """A claim of the literature by its number, and a command whose records would decide it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    decide: str


class Waiting(BaseModel):
    """A run that has no record yet, and what it waits for.

    Attributes:
        title: what it would show.
        command: the run.
        needs: the time or the machine that it waits for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    command: str
    needs: str


class Questions(BaseModel):
    """All questions of a page, and the runs that wait."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    claims: tuple[ClaimCommand, ...]
    sayings: tuple[Saying, ...]
    waiting: tuple[Waiting, ...] = ()

    @property
    def undeclared(self) -> tuple[AskedNumber, ...]:
        """The numbers that no contest is about, which no family of comparisons counts."""
        return tuple(number for saying in self.sayings for number in saying.numbers if number.title is not None)


def read_questions(path: Path) -> Questions:
    """Reads a file of questions.

    Raises:
        pydantic.ValidationError: something in it is unknown or missing.
    """
    return Questions.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
