"""Conditions that choose records: ``--where routing=em --where iters=1,3``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.presenting.contenders import BASELINE, baseline_kinds, summary
from capsbench.presenting.tuned import group_studies, identify_contender
from capsbench.presenting.words import shorten_name, spell_value
from capsbench.records.cell import Cell, asked_fields
from capsbench.records.record import Record

OF_ONE_CELL = ("network", "seed", "cell")
"""The names whose conditions hold for a baseline as well as for its capsule network."""


class Condition(NamedTuple):
    """A field or an option, and its allowed or excluded values."""

    name: str
    values: list[str]
    excluded: bool

    def is_met_by(self, record: Record) -> bool:
        if self.name == "cell":  # an identity of schema 1 still stands for its cell
            return bool({record.cell.id, *record.aliases}.intersection(self.values)) != self.excluded
        return any(_is_spelled(value_of(record.cell, self.name), text) for text in self.values) != self.excluded


def list_conditions(where: str | Sequence[str]) -> list[str]:
    """Returns conditions as a list; a single one may be a string, whose commas are between its values."""
    return [where] if isinstance(where, str) else [*where]


def choose_records(records: list[Record], where: Sequence[str]) -> list[Record]:
    """Returns the records that meet all conditions, with the baselines of the networks among them.

    Args:
        where: ``NAME=A,B`` or ``NAME!=A,B`` each; a name is a flag's (``iters``), an option's (``squash``) or ``cell``.

    Raises:
        UsageError: a condition of another form, or a name or a value that no record has.
        NothingMeasured: no record meets all of them.
    """
    conditions = [_parse_condition(text, records) for text in where]
    if not conditions:
        return records
    met = [record for record in records if all(condition.is_met_by(record) for condition in conditions)]
    if not met:
        raise NothingMeasured(Kind.MISSING, "no record meets all of these", flag="where", value=" and ".join(where))
    table = summary(group_studies(records).results)
    chosen_rows = table[table["contender"].isin({identify_contender(record) for record in met})]
    beside = {name for kind in baseline_kinds(table) for name in chosen_rows[BASELINE + kind].dropna()}
    of_one_cell = [condition for condition in conditions if condition.name in OF_ONE_CELL]
    ids = {record.cell.id for record in met}
    ids |= {
        record.cell.id
        for record in records
        if identify_contender(record) in beside and all(condition.is_met_by(record) for condition in of_one_cell)
    }
    return [record for record in records if record.cell.id in ids]


def to_field(name: str) -> str:
    """Returns the Cell's field for a name as a user types it, ``iters`` or ``train-size``; an option keeps its name."""
    plain = name.strip().removeprefix("--").replace("-", "_")
    return asked_fields().get(plain, plain)


def value_of(cell: Cell, name: str) -> Any:
    """Returns the value of a field, of ``cell`` (the identity) or of an option, with or without its component; else None."""
    if name == "cell":
        return cell.id
    if name in asked_fields().values():
        return getattr(cell, name)
    values = [value for option, value in cell.options.items() if name in (option, option.partition(".")[2])]
    return values[0] if values else None


def list_names(cells: Sequence[Cell]) -> list[str]:
    """Returns the names that ``--where`` accepts for some cells: fields, options and ``cell``."""
    options = {option.partition(".")[2] for cell in cells for option in cell.options}
    return [*asked_fields(), *sorted(options), "cell"]


def _parse_condition(text: str, records: list[Record]) -> Condition:
    left, equals, right = text.partition("=")
    if not left.strip("! ") or not equals or not right.strip():
        raise UsageError(Kind.INVALID, flag="where", expected="NAME=A,B or NAME!=A,B", value=text)
    cells = [record.cell for record in records]
    condition = Condition(to_field(left.rstrip("! ")), [item.strip() for item in right.split(",")], left.endswith("!"))
    here = [value_of(cell, condition.name) for cell in cells]
    known = list_names(cells)
    if all(value is None for value in here) and condition.name not in {to_field(name) for name in known}:
        raise UsageError(Kind.UNKNOWN, flag="where", value=left.rstrip("! "), expected=known)
    if condition.name == "cell":
        here += [alias for record in records for alias in record.aliases]
    for item in condition.values:
        if not any(_is_spelled(value, item) for value in here):
            there = sorted({spell_value(value) for value in here})[:20]
            raise UsageError(Kind.MISSING, f"no record has {item!r}", flag="where", value=text, expected=there)
    return condition


def _is_spelled(value: Any, text: str) -> bool:
    """Returns True where a text spells a value: ``0.10`` 0.1, ``yes`` True, ``none`` (of a train size, ``all``) None.

    A user's own part is spelled by its import path, or by the short name that tables print (``KMeansRouting``).
    """
    if value is None:
        return text in ("none", "all")
    if isinstance(value, bool):
        return text.lower() in (("yes", "true", "1") if value else ("no", "false", "0"))
    if isinstance(value, int | float):
        try:
            return float(text) == value
        except ValueError:
            return False
    return text in (value, shorten_name(value))
