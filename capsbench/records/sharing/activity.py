"""What the holder of a lease tells of its work, for whoever watches the folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from capsbench.records.record import Name

Count = Annotated[int, Field(ge=0, le=10**9)]


@dataclass(frozen=True)
class Activity:
    """The work on a cell at a heartbeat.

    Attributes:
        title: name of the cell among those of its run.
        doing: ``training``, or such as ``measuring speed``.
        done: fraction of the training steps that have been taken; this and all below are of a training.
        epoch: the current epoch, from 1, of ``epochs``.
        loss: mean loss of the epoch so far; None if it is not finite.
        validation: the latest validation result, such as ``accuracy 91.2%``; empty before the first.
        seconds_left: estimated rest of the training: a duration, since the clocks of machines are never compared.
    """

    title: Name = ""
    doing: Name = ""
    done: Annotated[FiniteFloat, Field(ge=0, le=1)] | None = None
    epoch: Count | None = None
    epochs: Count | None = None
    loss: FiniteFloat | None = None
    validation: Name = ""
    seconds_left: Annotated[FiniteFloat, Field(ge=0, le=1e9)] | None = None

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Activity:
        """Returns the activity in a lease's file, which anyone may have written; an empty one if it has another form."""
        try:
            return _ACTIVITY.validate_python(dict(facts))
        except ValidationError:
            return cls()


_ACTIVITY = TypeAdapter(Activity)
