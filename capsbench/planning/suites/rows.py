"""Names of published rows: ``sabour2017:5``, or ``sabour2017:mnist routing 3 reconstruction yes``."""

from __future__ import annotations

import re
from typing import NamedTuple

from capsbench.errors import Kind, UsageError
from capsbench.planning.suites import Suite, read_suite, suite_names
from capsbench.planning.suites.published import Published

ROW = "ROW"
"""The argument that names a row."""

LISTED = 6
"""The most rows that a message lists."""


class NamedRow(NamedTuple):
    """A published row with its suite and its name, ``sabour2017:5``."""

    name: str
    suite: Suite
    row: Published


def is_row_name(text: str) -> bool:
    """Returns true for a text that begins with a suite: a name of one that ships, or a TOML file."""
    return text in suite_names() or text.partition(":")[0] in suite_names() or ".toml" in text.partition(":")[0]


def list_rows(suite: str) -> dict[str, str]:
    """Returns the names of a suite's published rows with their descriptions, in the order of the suite."""
    rows = enumerate(read_suite(suite).published, start=1)
    return {
        f"{suite}:{number}": describe_row(row)
        + (f" (not reproduced: {row.not_reproduced})" if row.not_reproduced else "")
        for number, row in rows
    }


def describe_row(row: Published) -> str:
    """Returns a row in one line: ``Table 1, MNIST: Baseline: error 0.39 %``."""
    where = "" if row.condition == "test" else f" ({row.condition})"
    spread = "" if row.spread is None else f" ± {row.spread}"
    return f"{row.table}: {row.row}: {row.metric} {row.value}{spread} {row.unit}{where}"


def find_row(text: str) -> NamedRow:
    """Returns the published row that a text names: by its number in the suite, or by words of its table and of itself.

    Raises:
        UsageError: the suite cannot be read or has no published rows, or not one row fits; the message lists candidates.
    """
    name, _, words = text.partition(":")
    suite = read_suite(name)
    named = [NamedRow(f"{name}:{number}", suite, row) for number, row in enumerate(suite.published, start=1)]
    if not named:
        problem = "has no published rows"
        raise UsageError(
            Kind.MISSING, problem, flag=ROW, value=name, expected="`capsbench list row` has those of all suites"
        )
    words = words.strip()
    if words.isdecimal():
        if not 1 <= int(words) <= len(named):
            raise UsageError(Kind.INVALID, flag=ROW, expected=f"a number from 1 to {len(named)}", value=words)
        return named[int(words) - 1]
    exact = [each for each in named if each.row.row.lower() == words.lower()]
    fitting = exact or [each for each in named if _split(words) <= _split(describe_row(each.row))]
    if len(fitting) != 1:
        problem = f"{len(fitting)} published rows of {name} have these words" if words else "names no row"
        listed = [f"{each.name} ({describe_row(each.row)})" for each in fitting or named]
        listed[LISTED:] = ["`capsbench list row` has all"] if len(listed) > LISTED else []
        raise UsageError(Kind.AMBIGUOUS, problem, flag=ROW, value=text, expected=f"name one: {'; '.join(listed)}")
    return fitting[0]


def _split(text: str) -> set[str]:
    return set(re.split(r"[\s,:()]+", text.lower())) - {""}
