"""The outcome of a run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from capsbench.planning.contender_defaults import title_cells
from capsbench.presenting.notebook import Displayed, Grid, Output
from capsbench.records.record import Record


@dataclass(frozen=True)
class Waiting:
    """A cell that the budget of a run left, and the seconds that the rest of it is expected to take; None if unknown."""

    cell: str
    title: str
    seconds: float | None


@dataclass(repr=False)
class Outcome(Displayed):
    """The outcome of a run.

    Attributes:
        finished: identities of the cells that were finished during the run, by it or by another one in the same folder.
        on_record: identities of those that were finished before.
        failed: records of the cells whose training or a measure failed; their other results are on record.
        left: identities of the cells that Ctrl-C or SIGTERM left, or that run on elsewhere.
        trained: those of them that are trained and only have to be measured.
        interrupted: Ctrl-C or SIGTERM ended the run.
        waiting: those of them that the budget of the run left.
        detached: the number of jobs that go on although the command has ended.
        left_out: data set -> why it cannot be loaded; its cells are not part of the run.
        undrawn: the number of cells of later rounds, whose settings follow from this one.
    """

    finished: list[str] = field(default_factory=list)
    on_record: list[str] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)
    interrupted: bool = False
    waiting: list[Waiting] = field(default_factory=list)
    detached: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    undrawn: int = 0

    def count_done(self) -> tuple[int, int]:
        """Returns the number of cells on record, and of all."""
        done = len(self.finished) + len(self.on_record)
        return done, done + len(self.failed) + self.count_left()

    def count_left(self) -> int:
        """Returns the number of cells that are left, with those of later rounds."""
        return len(self.left) + self.undrawn

    def add_earlier(self, earlier: Outcome) -> None:
        """Counts what ended in an earlier round too."""
        self.finished[:0] = earlier.finished
        self.on_record[:0] = earlier.on_record
        self.failed[:0] = earlier.failed

    def describe(self, where: str | Path = "") -> str:
        """Returns the result in a line; ``where`` is the results folder, if it is to be named."""
        done, total = self.count_done()
        outdated = sum(record.is_outdated for record in self.failed)
        return (
            f"{done} of {total} cells on record"
            + (f" in {where}" if where else "")
            + (f", {len(self.failed)} failed" if self.failed else "")
            + (f" ({outdated} keep earlier numbers, which are marked)" if outdated else "")
            + (f"; left out, since they cannot be loaded: {', '.join(self.left_out)}" if self.left_out else "")
        )

    def describe_output(self) -> Output:
        """Returns the result, the failed cells, and what is left to do."""
        titles = title_cells(record.cell for record in self.failed)
        failed = Grid(["failed", "reason"], [[titles[record.cell.id], record.reason.strip()] for record in self.failed])
        left = f"{self.count_left()} left: the same call continues" if self.left else ""
        return Output(
            self.describe(),
            cautions=[f"{self._spell_end()}{left}"] if self.left else [],
            items=[f"{name} is left out: {reason}" for name, reason in self.left_out.items()],
            tables=[failed] if self.failed else [],
        )

    def list_left(self, planned: Sequence[str], trained: Collection[str]) -> None:
        """Notes the cells that did not end, among the planned ones, and which of them are trained; all by their identities."""
        ended = {*self.on_record, *self.finished, *(record.cell.id for record in self.failed)}
        self.left = [cell for cell in planned if cell not in ended]
        self.trained = [cell for cell in self.left if cell in trained]

    def _spell_end(self) -> str:
        return "interrupted, " if self.interrupted else "the budget is spent, " if self.waiting else ""

    def note_record(self, record: Record) -> None:
        """Files a cell by the latest state of its record."""
        for identities in (self.finished, self.on_record):
            if record.cell.id in identities:
                identities.remove(record.cell.id)
        self.failed[:] = [other for other in self.failed if other.cell.id != record.cell.id]
        if record.reason:
            self.failed.append(record)
        elif record.status == "finished":
            self.finished.append(record.cell.id)
