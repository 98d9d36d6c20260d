"""The listeners of a run: its display, and others that cannot harm it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType

from capsbench.errors import FOREIGN, Kind, UsageError, message_of
from capsbench.running.events import Listener, Remarked, RunEvent
from capsbench.running.trackers.base import Tracker


class Listeners:
    """Notifies the display of a run, then trackers and a user's own listeners. One that raises is named once and dropped.

    As a context manager it closes the trackers.
    """

    def __init__(self, display: Listener, others: Iterable[tuple[str, Listener]]) -> None:
        self.display = display
        self.others = list(others)

    def __enter__(self) -> Listeners:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name, listener in [*self.others]:
            if isinstance(listener, Tracker):
                try:
                    listener.close()
                except FOREIGN as failure:
                    self._drop(name, listener, failure)

    def notify(self, event: RunEvent) -> None:
        """Passes an event on to all listeners."""
        self.display.notify(event)
        for name, listener in [*self.others]:
            try:
                listener.notify(event)
            except FOREIGN as failure:
                self._drop(name, listener, failure)

    def _drop(self, name: str, listener: Listener, failure: BaseException) -> None:
        self.others.remove((name, listener))
        reason = f"{type(failure).__name__}: {message_of(failure)}"
        self.display.notify(Remarked(f"{name} failed and is told no more of this run, which goes on: {reason}"))


def name_listeners(listener: Listener | Sequence[Listener] | None) -> list[tuple[str, Listener]]:
    """Returns the names of the classes of one or several listeners, and the listeners; raises UsageError for other objects."""
    if listener is None:
        return []
    listeners = listener if isinstance(listener, Sequence) else [listener]
    for candidate in listeners:
        if isinstance(candidate, type) or not callable(getattr(candidate, "notify", None)):
            expected = "objects with a method notify(event)"
            raise UsageError(Kind.INVALID, flag="listener", expected=expected, value=candidate)
    return [(type(candidate).__name__, candidate) for candidate in listeners]
