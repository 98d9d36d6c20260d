"""How many cells a request makes, from its axes alone: known at once, where planning each takes milliseconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from capsbench.errors import Kind, UsageError
from capsbench.planning.defaults import complete_axes
from capsbench.planning.request import split_request

MAX_CELLS = 10_000
"""Cells that are planned unless the user asks for more; planning them takes minutes, and running them months."""


def count_cells(*requests: Mapping[str, Any]) -> int:
    """The cells of some requests at the most, with their baselines: an option that some networks lack is no axis of theirs."""
    count = 0
    for request in requests:
        parts = split_request(request)
        values = [*complete_axes(parts.fields).values(), *parts.options.values()]
        count += math.prod(map(len, values)) * (1 + len(parts.baselines))
    return count


def check_count(count: int, max_cells: int) -> None:
    """Raises UsageError for more cells than are to be planned."""
    if max_cells < count:
        expected = f"{count} or more for axes that make up to so many cells, or fewer values"
        raise UsageError(Kind.INVALID, flag="max_cells", expected=expected, value=max_cells)
