"""Parses durations as a user types them."""

from __future__ import annotations

import re

from capsbench.errors import Kind, UsageError

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

LONGEST = 366 * 86400.0
"""The longest duration in seconds: a year."""


def parse_duration(flag: str, value: str | float) -> float:
    """Returns the seconds of ``90``, ``90s``, ``1.5h``, ``30m`` or ``2d``; raises UsageError.

    Args:
        flag: the flag at fault.
    """
    parts = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhd]?)", str(value).strip().lower())
    seconds = float(parts[1]) * SECONDS[parts[2]] if parts else 0.0
    if not 0 < seconds <= LONGEST:
        expected = "a time such as 90s, 30m, 1.5h or 2d, at most a year"
        raise UsageError(Kind.INVALID, flag=flag, expected=expected, value=value)
    return seconds
