"""Errors of a user's own code, with the line of it that they passed."""

from __future__ import annotations

import traceback
from pathlib import Path

from capsbench.errors import message_of
from capsbench.sources.closure import OURS, is_installed


def describe_error(error: BaseException) -> str:
    """Returns type and message of an error in one line, and the line of a user's own code that it passed last, if any."""
    place = find_own_line(error)
    return f"{type(error).__name__}: {message_of(error)}" + (f" ({place})" if place else "")


def find_own_line(error: BaseException) -> str | None:
    """Returns the last line of a user's own code that an error passed, as ``shifted.py, line 12``; None if it passed none.

    Lines of the script that called capsbench do not count.
    """
    places: list[str] = []
    called = False
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = Path(frame.f_code.co_filename)
        if str(frame.f_globals.get("__name__")).partition(".")[0] in OURS:
            called = True
        elif called and path.is_file() and not is_installed(path):
            places.append(f"{path.name}, line {line}")
    return places[-1] if places else None
