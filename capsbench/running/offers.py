"""Offers the cells of a plan as jobs, one at a time, each once it is free: other commands may work on the same folder."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from capsbench.errors import ProcessFailed
from capsbench.planning.matrix import PlannedCell
from capsbench.records.sharing.leases import Leases
from capsbench.running.executors.base import MOST_LOSSES, Job, WorkerLost

MakeJob: TypeAlias = Callable[[PlannedCell], Job | None]
"""Makes the job of a cell whose lease was just taken; returns None if there is nothing left to do."""


OFFERED_AGAIN = object()
"""The result of a job that is offered again."""


class Offers:
    """The jobs of some cells, for an executor to iterate over.

    Yields the job of each cell once its lease is taken; None while all cells that are left are leased by other processes, or
    while jobs run that may have to be offered again.

    Args:
        make_job: if it returns None, the lease is given back.
        say: called with a line for the user: once if other processes have cells, and for each job that is offered again.
        holds: tells of a cell whether its results are still those of this process.
    """

    def __init__(
        self,
        cells: Iterable[PlannedCell],
        leases: Leases,
        make_job: MakeJob,
        say: Callable[[str], None],
        holds: Callable[[str], bool],
    ) -> None:
        self.waiting = deque(cells)
        self.leases, self.make_job, self.say, self.holds = leases, make_job, say, holds
        self.running: dict[str, PlannedCell] = {}
        """Cell identity -> the cell, of those whose job was offered and has not ended."""
        self.again: deque[Job] = deque()
        self.losses: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Job | None]:
        told = False
        while self.waiting or self.running:
            busy = 0
            while self.again:
                yield self.again.popleft()
            while self.waiting and busy < len(self.waiting):
                planned = self.waiting.popleft()
                if not self.leases.take(planned.cell.id):
                    self.waiting.append(planned)
                    busy += 1
                elif (job := self.make_job(planned)) is None:
                    self.leases.release(planned.cell.id)
                else:
                    self.running[job.name] = planned
                    yield job
            if self.waiting and not told:
                count = len(self.waiting)
                self.say(f"waiting for {count} cell{'s' * (count != 1)} that another run works on")
                told = True
            if (self.waiting or self.running) and not self.again:
                yield None

    def settle(self, name: str, result: Any) -> Any:
        """Settles what becomes of a job that ended: a job is offered again if its worker was lost.

        A cell that another process has taken over meanwhile is offered again once it is free: that process has recorded its
        results by then, or left the rest.

        Returns:
            The result; `OFFERED_AGAIN`; and of a lost worker else None if nothing was left to do, or ProcessFailed if too many
            workers of the job were lost.
        """
        if not self.holds(name):
            planned = self.running.pop(name)
            self.leases.release(name)
            self.say(f"{planned.cell.title}: another run has taken it over, and this one waits for its results")
            self.waiting.append(planned)
            return OFFERED_AGAIN
        return self._replace_lost(name, result) if isinstance(result, WorkerLost) else result

    def _replace_lost(self, name: str, loss: WorkerLost) -> Any:
        if self.losses[name] == MOST_LOSSES:
            return ProcessFailed(f"{loss}, and {MOST_LOSSES} before it")
        self.losses[name] += 1
        planned = self.running[name]
        self.say(f"{planned.cell.title}: {loss}; run again, time {self.losses[name]} of at most {MOST_LOSSES}")
        job = self.make_job(planned)
        if job is None:
            return None
        self.again.append(job)
        return OFFERED_AGAIN

    def end(self, name: str) -> None:
        """Gives back the lease of a cell whose job has ended."""
        del self.running[name]
        self.leases.release(name)
