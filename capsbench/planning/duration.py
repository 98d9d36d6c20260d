"""Parses durations as a user types them."""

from __future__ import annotations

import re

from capsbench.errors import Kind, UsageError

SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
"""Unit -> its seconds."""

_NUMBER = r"\d{1,9}(?:\.\d{1,9})?"
_BARE = re.compile(rf"({_NUMBER})(?:\s*([dhms]))?")
_JOINED = re.compile("".join(rf"(?:({_NUMBER}){unit})?" for unit in SECONDS))

LONGEST = 366 * 86400.0
"""The longest duration in seconds: a year."""


def parse_duration(flag: str, value: str | float) -> float:
    """Returns the seconds of ``90``, ``90s``, ``1.5h``, ``1h30m`` or ``2d``; raises UsageError.

    Args:
        flag: the flag at fault.
    """
    text, seconds = str(value).strip().lower(), 0.0
    if parts := _BARE.fullmatch(text):
        seconds = float(parts[1]) * SECONDS[parts[2] or "s"]
    elif parts := _JOINED.fullmatch(text):
        seconds = sum(float(number or 0) * unit for number, unit in zip(parts.groups(), SECONDS.values(), strict=True))
    if not 0 < seconds <= LONGEST:
        expected = "a time such as 90s, 30m, 1h30m or 2d, at most a year"
        raise UsageError(Kind.INVALID, flag=flag, expected=expected, value=value)
    return seconds


def spell_duration(seconds: float) -> str:
    """Returns a duration in one unit: ``0.3 s``, ``45 s``, ``12 min``, ``7.5 h``, ``3.2 days``."""
    if seconds < 1:
        return f"{seconds:.1g} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 2 * SECONDS["h"]:
        return f"{seconds / SECONDS['m']:.0f} min"
    if seconds < 2 * SECONDS["d"]:
        return f"{seconds / SECONDS['h']:.1f} h"
    return f"{seconds / SECONDS['d']:.1f} days"
