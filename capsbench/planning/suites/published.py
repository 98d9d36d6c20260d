"""The rows of a paper's tables that a suite reproduces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from capsbench.errors import ArgumentError, reason_of
from capsbench.records.cell import Cell, Scalar, asked_fields

COMPONENTS = ("network", "routing", "loss")
"""The components whose options a row may name, as ``stem`` or ``network.stem``."""


class RowError(ValueError):
    """Raised for an invalid row of a suite.

    Args:
        number: its place among the rows, from 1.
        row: its name, if it has one.
        field: the invalid field.
        reason: a phrase.
    """

    def __init__(self, number: int, row: str, field: str, reason: str) -> None:
        super().__init__(number, row, field, reason)
        self.number = number
        self.row = row
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"published row {self.number} ({self.row}): {self.field}: {self.reason}"


Text = Annotated[str, Field(min_length=1)]


class Published(BaseModel):
    """One published number. It is a claim to examine; only the table of a report reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    table: Text = Field(description="the table or section of the paper")
    row: Text = Field(description="the row, as printed")
    metric: Literal["accuracy", "error"]
    condition: str = Field("test", description="which images: test, or a name that the data set has beside them")
    value: Decimal = Field(description="with the digits that are printed")
    spread: Decimal | None = Field(None, ge=0, description="standard deviation over trials")
    trials: int | None = Field(None, ge=2, description="how many trials the value is the mean of; none: it is of one")
    unit: Literal["%"] = "%"
    source: Text = Field(description="where it was read")
    unverified: bool = Field(False, description="whether it was not checked against the paper")
    differs: str = Field("", description="how the paper's experiment differs from the suite's, if it does")
    not_reproduced: str = Field("", description="why nothing in the suite measures it")
    where: dict[str, Scalar] = Field({}, description="what the cells that measure it are: field or option -> value")

    @model_validator(mode="after")
    def _check_whole(self) -> Published:
        if (self.spread is None) != (self.trials is None):
            raise ArgumentError("spread", "the number of trials beside it, and neither alone", self.spread)
        if bool(self.where) == bool(self.not_reproduced):
            raise ArgumentError("where", "what selects the cells, or not_reproduced with the reason", self.where)
        return self

    @property
    def rounding(self) -> float:
        """Half a unit of the last printed digit."""
        exponent = self.value.as_tuple().exponent
        assert isinstance(exponent, int)  # neither infinite nor a NaN
        return float(Decimal(5).scaleb(exponent - 1))

    def fits(self, cell: Cell) -> bool:
        """Returns true if the cell has all values of ``where``."""
        return bool(self.where) and all(_has_value(cell, name, value) for name, value in self.where.items())


def rows_of(cell: Cell, published: Sequence[Published]) -> list[Published]:
    """Returns the rows that a cell measures: among those that it fits, the rows with the most values in ``where``.

    A row so need not name what other rows vary: the ablation ``{iterations = 3, loss = "margin"}`` is not taken for
    ``{iterations = 3}``.
    """
    fitting = [row for row in published if row.fits(cell)]
    most = max((len(row.where) for row in fitting), default=0)
    return [row for row in fitting if len(row.where) == most]


def read_rows(content: Sequence[Mapping[str, Any]]) -> list[Published]:
    """Reads the rows of a suite's ``[[published]]``; raises RowError for an invalid one."""
    rows = []
    for number, entry in enumerate(content, start=1):
        try:
            rows.append(Published.model_validate(entry))
        except ValidationError as error:
            first = error.errors()[0]
            field, reason = ".".join(map(str, first["loc"])), reason_of(error)
            refused = first.get("ctx", {}).get("error")
            if isinstance(refused, ArgumentError):
                field, reason = refused.argument, f"expected {refused.expected}"
            raise RowError(number, entry.get("row", "without a name"), field, reason) from error
    return rows


def _has_value(cell: Cell, name: str, value: Scalar) -> bool:
    key = name.replace("-", "_")
    field = asked_fields().get(key, key)
    if field in Cell.model_fields:
        wanted = None if field == "train_size" and value in ("all", "none") else value
        return bool(getattr(cell, field) == wanted)
    named = [key, *(f"{component}.{key}" for component in COMPONENTS)]
    return any(cell.options[option] == value for option in named if option in cell.options)
