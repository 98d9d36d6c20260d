"""Counts the cells of a request from its axes alone, at once; planning each cell takes milliseconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from capsbench.errors import Kind, UsageError
from capsbench.planning.defaults import complete_axes
from capsbench.planning.request import split_request

MAX_CELLS = 10_000
"""The cells that are planned unless the user asks for more; planning them takes minutes, and running them months."""

MOST_CELLS = 1_000_000
"""The most cells that a user may ask for; planning them takes hours."""

MOST_TRIALS = 10_000
"""The most trials of a contender in a search for settings."""

MOST_WORKERS = 1024
"""The most networks that are trained at a time, each in a process of its own."""


def count_cells(*requests: Mapping[str, Any]) -> int:
    """Returns the most cells that some requests can make, with their baselines.

    It counts an option as an axis of every network, though some networks may lack it.
    """
    count = 0
    for request in requests:
        parts = split_request(request)
        axes = [*complete_axes(parts.fields).values(), *parts.options.values()]
        count += math.prod(map(len, axes)) * (1 + len(parts.baselines))
    return count


def check_count(count: int, max_cells: int) -> None:
    """Raises UsageError for more cells than the user allows, or for a limit that nobody can mean."""
    if not 1 <= max_cells <= MOST_CELLS:
        raise UsageError(Kind.INVALID, flag="max_cells", expected=f"1 to {MOST_CELLS:,}", value=max_cells)
    if max_cells < count:
        expected = (
            "fewer values" if count > MOST_CELLS else f"fewer values, or {count} for axes that make so many cells"
        )
        raise UsageError(Kind.INVALID, flag="max_cells", expected=expected, value=max_cells)
