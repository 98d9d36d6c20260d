"""Finds the cell of a results folder that a user names by hash, conditions or title."""

from __future__ import annotations

import difflib
import re
from typing import Any

from capsbench.errors import Kind, UsageError
from capsbench.planning.contender_defaults import title_cells
from capsbench.presenting.filter import Condition, list_names, to_field, value_of
from capsbench.presenting.words import TIMES, shorten_name, spell_value
from capsbench.records.folder import require_records
from capsbench.records.record import Record
from capsbench.records.store import Store

LISTED = 6
"""The most candidates that a message lists."""


def find_record(store: Store, wanted: str | None) -> tuple[Record, list[str]]:
    """Returns the one record of a trained cell that matches ``wanted``, and a line for each file that is not a whole record.

    Args:
        wanted: a cell's identity or its beginning; conditions that only one cell meets, ``routing=dynamic,iters=3``; words of its
            title, ``"em x3"``; None: the only cell with weights.

    Raises:
        UsageError: no cell or several cells match; the message lists candidates.
        NothingMeasured: there is no record yet.
    """
    records, faults = require_records(store)
    if wanted is None:
        matches = [record for record in records if store.has_weights(record)] or records
    else:
        matches = _match_records(records, wanted.strip(), faults)
    if len(matches) != 1:
        raise UsageError(
            Kind.AMBIGUOUS,
            f"{len(matches)} cells match; name one by its hash, or by more conditions",
            flag="CELL",
            value=wanted,
            expected=_list_candidates(matches),
        )
    (record,) = matches
    if record.status == "failed":
        raise UsageError(
            Kind.MISSING,
            f"it failed, so it has no weights: {record.reason}",
            flag="CELL",
            value=f"{record.cell.id}, {record.cell.title}",
        )
    return record, faults


def _match_records(records: list[Record], wanted: str, faults: list[str]) -> list[Record]:
    """Returns the records that match a text; raises UsageError with a suggestion if none does."""
    if "=" in wanted:
        return _match_conditions(records, wanted)
    if re.fullmatch(r"[0-9a-f]{1,12}", wanted.lower()):
        matches = [
            record
            for record in records
            if any(identity.startswith(wanted.lower()) for identity in (record.cell.id, *record.aliases))
        ]
        if matches:
            return matches
    titles = title_cells(record.cell for record in records)
    words = wanted.lower().replace(",", " ").replace(TIMES, "x").split()
    matches = [record for record in records if words and set(words) <= _split_title(titles[record.cell.id])]
    if matches:
        return matches
    problem = "no hash begins like this, and no title has these words"
    if faults:
        problem += f"; {len(faults)} files cannot be read; the first: {faults[0]}"
    hint = _suggest_cell(records, titles, wanted.lower(), words)
    raise UsageError(Kind.UNKNOWN, problem, flag="CELL", value=wanted, expected=hint)


def _suggest_cell(records: list[Record], titles: dict[str, str], wanted: str, words: list[str]) -> str:
    """Returns the closest hash, else the closest words of titles, else all cells."""
    hashes = [record.cell.id for record in records]
    close_hashes = difflib.get_close_matches(wanted, hashes, n=1, cutoff=0.7)
    if close_hashes:
        return f"did you mean {close_hashes[0]}, {titles[close_hashes[0]]}?"
    title_words = sorted({word for record in records for word in _split_title(titles[record.cell.id])})
    close_words = [difflib.get_close_matches(word, title_words, n=1) for word in words]
    if words and all(close_words):
        corrected = " ".join(candidates[0] for candidates in close_words)
        if corrected != wanted:
            return f"did you mean {corrected!r}?"
    return f"there {'is' if len(records) == 1 else 'are'} {'; '.join(_list_candidates(records))}"


def _match_conditions(records: list[Record], wanted: str) -> list[Record]:
    """Returns the records that meet ``NAME=A,NAME=B|C`` or ``NAME!=A``; a NAME is that of a flag, without dashes."""
    cells = [record.cell for record in records]
    names = list_names(cells)
    remaining = records
    for text in wanted.split(","):
        left, equals, right = text.partition("=")
        name = left.rstrip("! ").strip()
        if not equals or not name or not right.strip():
            raise UsageError(Kind.INVALID, flag="CELL", expected="NAME=VALUE,NAME=VALUE,...", value=wanted)
        condition = Condition(to_field(name), [right.strip()], left.rstrip().endswith("!"))
        if condition.name not in {to_field(known) for known in names}:
            raise UsageError(Kind.UNKNOWN, flag="CELL", value=name, expected=names)
        matches = [record for record in remaining if condition.is_met_by(record)]
        if not matches:
            values = sorted({_spell_field(value_of(record.cell, condition.name)) for record in remaining})
            raise UsageError(
                Kind.MISSING, f"none of these cells has {text.strip()}", flag="CELL", value=wanted, expected=values[:20]
            )
        remaining = matches
    return remaining


def _spell_field(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else spell_value(value)


def _split_title(title: str) -> set[str]:
    """Returns the words of a title: ``capsnet``, ``dynamic``, ``x3``, ``tiny``, ``mnist``, ``seed``, ``0``.

    A user's own part has two, since tables print the short one: ``my_module:myrouting`` and ``myrouting``.
    """
    words = set(re.split(r"[ ,\[\]]+", title.lower())) - {""}
    return words | set(map(shorten_name, words))


def _list_candidates(records: list[Record]) -> list[str]:
    """Returns cells by hash and title, at most `LISTED`, and the number of the others."""
    titles = title_cells(record.cell for record in records)
    candidates = [f"{record.cell.id} ({titles[record.cell.id]})" for record in records[:LISTED]]
    more = len(records) - len(candidates)
    return [*candidates, f"and {more} more"] if more else candidates
