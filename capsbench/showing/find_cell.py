"""Which cell of a results folder a person means."""

from __future__ import annotations

import difflib
import re
from typing import Any

from capsbench.errors import Kind, UsageError
from capsbench.planning.contender_defaults import title_cells
from capsbench.presenting.filter import Condition, list_names, to_field, value_of
from capsbench.presenting.words import spell_value
from capsbench.records.folder import require_records
from capsbench.records.record import Record
from capsbench.records.store import Store

LISTED = 6
"""Candidates that a message names."""


def chosen_record(store: Store, wanted: str | None) -> tuple[Record, list[str]]:
    """The one record that ``wanted`` stands for, of a cell that was trained; and a line for each file that is not a whole record.

    Args:
        wanted: a cell's identity or the beginning of it; conditions that one cell alone meets, ``routing=dynamic,iters=3``; words
            of its title, ``"em x3"``; None: the only cell there is with weights.

    Raises:
        UsageError: no cell or several are meant, in one line that names those that could be.
        NothingMeasured: there is no record yet.
    """
    records, faults = require_records(store)
    if wanted is None:
        met = [record for record in records if store.has_weights(record)]
        met = met or records
    else:
        met = _met(records, wanted.strip(), faults)
    if len(met) != 1:
        raise UsageError(
            Kind.AMBIGUOUS,
            f"{len(met)} cells fit; name one by its hash, or by more conditions",
            flag="CELL",
            value=wanted,
            expected=_listed(met),
        )
    (record,) = met
    if record.status == "failed":
        raise UsageError(
            Kind.MISSING,
            f"failed, so that it has no weights: {record.reason}",
            flag="CELL",
            value=f"{record.cell.id}, {record.cell.title}",
        )
    return record, faults


def _met(records: list[Record], wanted: str, faults: list[str]) -> list[Record]:
    if "=" in wanted:
        return _by_conditions(records, wanted)
    if re.fullmatch(r"[0-9a-f]{1,12}", wanted.lower()):
        found = [
            record
            for record in records
            if any(identity.startswith(wanted.lower()) for identity in (record.cell.id, *record.aliases))
        ]
        if found:
            return found
    titles = title_cells(record.cell for record in records)
    words = wanted.lower().replace(",", " ").split()
    found = [record for record in records if words and set(words) <= _words(titles[record.cell.id])]
    if found:
        return found
    known = {record.cell.id: record for record in records}
    near = difflib.get_close_matches(wanted.lower(), known, n=1, cutoff=0.7)
    spelled = sorted({word for record in records for word in _words(titles[record.cell.id])})
    corrected = [difflib.get_close_matches(word, spelled, n=1) for word in words]
    if near:
        hint = f"did you mean {near[0]}, {titles[near[0]]}?"
    elif words and all(corrected) and " ".join(each[0] for each in corrected) != wanted.lower():
        hint = f"did you mean {' '.join(each[0] for each in corrected)!r}?"
    else:
        hint = f"there {'is' if len(records) == 1 else 'are'} {'; '.join(_listed(records))}"
    problem = "no hash and no title here begins or reads so"
    if faults:
        problem += f", and {len(faults)} files cannot be read; the first: {faults[0]}"
    raise UsageError(Kind.UNKNOWN, problem, flag="CELL", value=wanted, expected=hint)


def _by_conditions(records: list[Record], wanted: str) -> list[Record]:
    """The records that meet ``NAME=A,NAME=B|C`` or ``NAME!=A``, each a field or an option by its flag's name."""
    cells = [record.cell for record in records]
    known = list_names(cells)
    met = records
    for text in wanted.split(","):
        left, equals, right = text.partition("=")
        name = left.rstrip("! ").strip()
        if not equals or not name or not right.strip():
            raise UsageError(Kind.INVALID, flag="CELL", expected="NAME=VALUE,NAME=VALUE,...", value=wanted)
        condition = Condition(to_field(name), [right.strip()], left.rstrip().endswith("!"))
        if condition.name not in {to_field(each) for each in known}:
            raise UsageError(Kind.UNKNOWN, flag="CELL", value=name, expected=known)
        found = [record for record in met if condition.is_met_by(record)]
        if not found:
            there = sorted({_plain(value_of(record.cell, condition.name)) for record in met})
            raise UsageError(
                Kind.MISSING, f"none of these cells has {text.strip()}", flag="CELL", value=wanted, expected=there[:20]
            )
        met = found
    return met


def _plain(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else spell_value(value)


def _words(title: str) -> set[str]:
    """The words of a title: ``capsnet``, ``dynamic``, ``x3``, ``tiny``, ``mnist``, ``seed``, ``0``."""
    return set(re.split(r"[ ,\[\]]+", title.lower())) - {""}


def _listed(records: list[Record]) -> list[str]:
    """Cells by hash and title, which says what tells them apart."""
    titles = title_cells(record.cell for record in records)
    described = [f"{record.cell.id} ({titles[record.cell.id]})" for record in records[:LISTED]]
    more = len(records) - len(described)
    return [*described, f"and {more} more"] if more else described
