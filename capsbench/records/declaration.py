"""Declarations of the fields of a Cell: all that the command line, the plan and reports know about one field."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import Enum, StrEnum, auto
from typing import Any

from pydantic import BaseModel

from capsbench.stats.spaces import Space


class Panel(StrEnum):
    """The panel of ``capsbench run --help`` that shows a field's flag."""

    DATA = "Data"
    NETWORK = "Network"
    TRAINING = "Training"
    MACHINE = "Measuring and machine"


class Role(Enum):
    """The part that a field plays when contenders are named, paired and compared."""

    TASK = auto()  # the data and the size; every name has them, and paired contenders share them
    NETWORK = auto()  # the contender itself; every name has it
    OWN = auto()  # follows from the network, so that paired contenders may differ in it
    BUDGET = auto()  # shared by paired contenders
    SEED = auto()  # repeats a contender
    MACHINE = auto()  # how the arithmetic is carried out, not what is computed; shared by paired contenders
    SOURCE = auto()  # digests of a user's own code and images


@dataclass(frozen=True)
class Declaration:
    """The declaration of one field.

    A field with a flag has its default from exactly one of these: ``axis``, ``decided_by``, ``default``, or the field of the Cell
    itself.

    Attributes:
        text: the description, in ``--help``.
        role: see `Role`.
        panel: see `Panel`; None for a field without a flag.
        flag: the flag's name in Python and in suites, where it is not the field's name.
        axis: the values in a matrix that names none.
        decided_by: the component or machine that sets the default, in words.
        default: the value where neither the user nor the network sets one.
        of_machine: true if the machine sets the default.
        space: the values that a search for settings draws from; None for a field that is not tuned.
    """

    text: str
    role: Role
    panel: Panel | None = None
    _: KW_ONLY
    flag: str | None = None
    axis: tuple[Any, ...] = ()
    decided_by: str = ""
    default: Any = None
    of_machine: bool = False
    space: Space | None = None


def read_declarations(model: type[BaseModel]) -> dict[str, Declaration]:
    """Returns the declaration of each field of a model; raises TypeError for a field without one."""
    declarations = {}
    for name, info in model.model_fields.items():
        declared = [item for item in info.metadata if isinstance(item, Declaration)]
        if len(declared) != 1:
            raise TypeError(f"{model.__name__}.{name} needs one Declaration")
        declarations[name] = declared[0]
    return declarations
