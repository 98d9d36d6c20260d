"""From ``--track`` to trackers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from capsbench import registry
from capsbench.errors import FOREIGN, Kind, UsageError, message_of
from capsbench.running.trackers.base import Tracker

TRACK_FLAG = "track"


def choose_trackers(names: Iterable[str]) -> dict[str, type[Tracker]]:
    """Returns name -> class of the trackers that a user names; the process may import them.

    Raises:
        UsageError: an unknown name, or a tracker whose package is not installed.
    """
    names = list(names)
    registry.trust(name for name in names if isinstance(name, str))
    trackers: dict[str, type[Tracker]] = {}
    for name in names:
        if not isinstance(name, str):
            raise UsageError(Kind.INVALID, flag=TRACK_FLAG, expected="names of trackers", value=name)
        trackers[name] = registry.get("tracker", name, TRACK_FLAG)
        reason = trackers[name].explain_missing()
        if reason is not None:
            raise UsageError(Kind.MISSING, reason, flag=TRACK_FLAG, value=name)
    return trackers


def start_trackers(classes: Mapping[str, type[Tracker]], folder: Path) -> dict[str, Tracker]:
    """Returns name -> tracker, each with a folder of its name inside ``folder``.

    Raises:
        UsageError: one does not start, as if its server does not answer.
    """
    return {name: _start_tracker(name, tracker, folder) for name, tracker in classes.items()}


def describe_trackers(trackers: Mapping[str, Tracker]) -> list[str]:
    """Returns a line of each tracker that says where its runs are seen."""
    return [f"{name}, {line}" for name, tracker in trackers.items() if (line := tracker.describe())]


def _start_tracker(name: str, tracker: type[Tracker], folder: Path) -> Tracker:
    try:
        return tracker(folder.absolute() / name.replace(":", "."))
    except UsageError:
        raise
    except FOREIGN as error:
        problem = f"does not start: {type(error).__name__}: {message_of(error)}"
        raise UsageError(Kind.INACCESSIBLE, problem, flag=TRACK_FLAG, value=name) from error
