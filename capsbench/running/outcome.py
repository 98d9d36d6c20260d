"""The outcome of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from capsbench.records.record import Record


@dataclass
class Outcome:
    """The outcome of a run.

    Attributes:
        finished: identities of the cells that were finished during the run, by it or by another one in the same folder.
        on_record: identities of those that were finished before.
        failed: records of the cells whose training or a measure failed; their other results are on record.
        left: identities of the cells that Ctrl-C or SIGTERM left, or that run on elsewhere.
        trained: those of them that are trained and only have to be measured.
        interrupted: Ctrl-C or SIGTERM ended the run.
        detached: the number of jobs that go on although the command has ended.
        left_out: data set -> why it cannot be loaded; its cells are not part of the run.
    """

    finished: list[str] = field(default_factory=list)
    on_record: list[str] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)
    interrupted: bool = False
    detached: int = 0
    left_out: dict[str, str] = field(default_factory=dict)

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
