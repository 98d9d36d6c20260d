"""Tells the leases of a run what its jobs are doing, for `capsbench status`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from time import monotonic

from capsbench.records.sharing.activity import Activity
from capsbench.records.sharing.leases import Leases
from capsbench.running.events import JobEvent, Measuring
from capsbench.training.loop import Progress


class Activities:
    """What the jobs of a run are doing.

    Args:
        leases: are told of each activity.
        titles: cell identity -> its title among the cells of the run.
        clock: returns a time in seconds.
    """

    def __init__(self, leases: Leases, titles: Mapping[str, str], clock: Callable[[], float] = monotonic) -> None:
        self.leases = leases
        self.titles = titles
        self.clock = clock
        self.first_progress: dict[str, tuple[float, float]] = {}
        """Cell identity -> the time of the first progress of its training, and the fraction that was done by then."""

    def announce(self, cell_ids: Iterable[str], doing: str) -> None:
        """Tells what will be done for some cells before any event of theirs tells more."""
        for cell_id in cell_ids:
            self.leases.describe(cell_id, Activity(self.titles[cell_id], doing))

    def note_event(self, cell_id: str, event: JobEvent) -> None:
        """Tells what a job is doing by an event that it sent; most events tell nothing new of it."""
        match event:
            case Measuring(spec):
                self.leases.describe(cell_id, Activity(self.titles[cell_id], f"measuring {spec}"))
            case Progress():
                self.leases.describe(cell_id, self._describe_training(cell_id, event))

    def _describe_training(self, cell_id: str, progress: Progress) -> Activity:
        return Activity(
            title=self.titles[cell_id],
            doing="training",
            done=progress.done,
            epoch=progress.epoch,
            epochs=progress.epochs,
            loss=progress.loss if math.isfinite(progress.loss) else None,
            validation="" if progress.validation is None else str(progress.validation),
            seconds_left=self._estimate_seconds_left(cell_id, progress.done),
        )

    def _estimate_seconds_left(self, cell_id: str, done: float) -> float | None:
        """Returns the rest of a training by its pace so far; None before there is one.

        The pace is that since the first progress, as a training that goes on from a checkpoint has a part done already.
        """
        now = self.clock()
        first, done_before = self.first_progress.setdefault(cell_id, (now, done))
        return None if done <= done_before else (now - first) * (1 - done) / (done - done_before)
