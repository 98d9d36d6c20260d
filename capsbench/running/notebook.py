"""Shows a run in a notebook: bars while it lasts, and the lines that stay, in one output."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.jupyter import JupyterMixin
from rich.text import Text

from capsbench.presenting.terminal import to_one_line
from capsbench.running.events import CellEnded, JobReported, RunEvent
from capsbench.running.progress import LiveProgress
from capsbench.training.loop import Progress

MOST_LINES = 15
"""Lines of a run that stay: failures first of all, and the latest of the others."""

SECONDS_BETWEEN_UPDATES = 0.25
"""The least time between two updates of the bars: each is sent to the browser."""


class NotebookProgress(LiveProgress):
    """Shows the bars below the lines. At the end, a line on how much is done replaces the bars.

    rich would update bars with ipywidgets, which not every notebook has; IPython's own displays can be updated as well. One
    display holds all lines, else each would be an output of its own.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.lines: list[tuple[str, bool]] = []  # text, and true for a failure
        self.dropped = 0
        self.is_failure = self.is_over = False
        self.updated_at = 0.0

    def __enter__(self) -> NotebookProgress:
        from IPython.display import display

        self.shown = display(_Shown(self), display_id=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.is_over = True
        self.shown.update(_Shown(self))

    def notify(self, event: RunEvent) -> None:
        """Moves the bars, and adds the lines that stay."""
        self.is_failure = isinstance(event, CellEnded) and bool(event.record.reason)
        super().notify(event)
        is_step = isinstance(event, JobReported) and isinstance(event.event, Progress)
        now = time.monotonic()
        if not is_step or now - self.updated_at >= SECONDS_BETWEEN_UPDATES:
            self.updated_at = now
            self.shown.update(_Shown(self))

    def print_line(self, line: str) -> None:
        """Adds a line; beyond `MOST_LINES` the oldest one that is no failure is dropped."""
        self.lines.append((to_one_line(line), self.is_failure))
        if len(self.lines) > MOST_LINES:
            self.lines.pop(next((place for place, (_, failed) in enumerate(self.lines) if not failed), 0))
            self.dropped += 1

    def list_parts(self) -> Iterator[RenderableType]:
        """Yields the lines, then the bars or the line that replaces them."""
        if self.dropped:
            yield _make_text(f"({self.dropped} earlier lines are left out)")
        for line, _ in self.lines:
            yield _make_text(line)
        count = self.total - self.before
        if not self.is_over:
            yield self.bars
        elif count:
            yield _make_text(f"{len(self.ended) - self.before} of {count} cells done")


class _Shown(JupyterMixin):
    """The state of a run, as rich writes it for a notebook."""

    def __init__(self, progress: NotebookProgress) -> None:
        self.progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.progress.list_parts()


def _make_text(line: str) -> Text:
    """Returns a line that is not folded: the output scrolls."""
    return Text(line, no_wrap=True, overflow="ignore")
