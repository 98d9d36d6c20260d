"""The cells of runs that are still to be done when they are reported on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from capsbench.records.record import Record, Run
from capsbench.records.runs import find_left_to_retrain


class Unfinished(NamedTuple):
    """Counts of the cells of runs that are still to be done.

    Attributes:
        missing: cells without a record, of ``total``.
        unmeasured: cells that are trained and lack measures.
        outdated: cells of earlier runs, which a fresh run was to train anew.
    """

    missing: int = 0
    total: int = 0
    unmeasured: int = 0
    outdated: int = 0

    @classmethod
    def from_records(cls, records: Sequence[Record], runs: Sequence[Run], missing: int, total: int) -> Unfinished:
        """Returns the counts of runs with these records, of whose ``total`` cells ``missing`` have none."""
        unmeasured = sum(record.status == "trained" for record in records)
        outdated = sum(not record.is_outdated for record in find_left_to_retrain(runs, records))
        return cls(missing, total, unmeasured, outdated)

    @property
    def lines(self) -> list[str]:
        """A line for each count that is not zero."""
        lines = {
            f"{self.missing} of {count_cells(self.total)} not on record yet": self.missing,
            f"{count_cells(self.unmeasured)} trained and not yet measured in full": self.unmeasured,
            f"{count_cells(self.outdated)} of before, which a fresh run was to train anew and has not yet": self.outdated,
        }
        return [line for line, count in lines.items() if count]


def count_cells(count: int) -> str:
    """Returns ``1 cell``, ``2 cells``."""
    return "1 cell" if count == 1 else f"{count} cells"
