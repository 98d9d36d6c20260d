"""A published row of a suite as the aim of a reproduction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsbench.api import plan
from capsbench.errors import Kind, UsageError
from capsbench.measures.accuracy.spec import ACCURACY
from capsbench.planning.matrix import PlannedCell
from capsbench.planning.request import MEASURE_FLAG
from capsbench.planning.suites.published import rows_of
from capsbench.planning.suites.rows import ROW, NamedRow, describe_row, find_row
from capsbench.presenting.steps import Steps
from capsbench.records.store import Store
from capsbench.reporting.sections.published import compare
from capsbench.reproducing.reproduction import Reproduction
from capsbench.running.on_record import find_records
from capsbench.running.outcome import Outcome

DATASET = "dataset"


@dataclass(frozen=True)
class RowAim:
    """A published row: the cells of its suite that measure it; see `capsbench.reproducing.aim.Aim`."""

    named: NamedRow
    planned: Sequence[PlannedCell]
    remarks: Sequence[str]

    @property
    def suite(self) -> str:
        return self.named.suite.name

    def conclude(self, store: Store, outcome: Outcome) -> Reproduction:
        """Compares the published number with the measured ones, by the rule of the report of a suite."""
        known = find_records(self.planned, store)
        steps = Steps([*known.values()], lambda measure, cell: store.kept(known[cell], measure))
        compared = compare(self.named.suite, [*known.values()], {}, steps)
        row = self.named.row
        return Reproduction(
            self.named.name,
            describe_row(row),
            outcome,
            notes=_list_notes(self.named),
            published=[each for each in compared if each.published is row],
        )


def aim_at_row(text: str, data_dir: str | Path | None, request: Mapping[str, Any]) -> RowAim:
    """Plans the cells that measure a published row.

    Args:
        text: the name of the row.
        request: values that replace the suite's, as in `capsbench.run`; the accuracy alone is measured by default.

    Raises:
        UsageError: no such row, nothing in the suite measures it, or a value that does not fit.
    """
    named = find_row(text)
    row = named.row
    if row.not_reproduced:
        problem = f"nothing in the suite measures it: {row.not_reproduced}"
        raise UsageError(Kind.CONFLICT, problem, flag=ROW, value=f"{named.name}, {describe_row(row)}")
    asked = {MEASURE_FLAG: ACCURACY, **{name: value for name, value in request.items() if value is not None}}
    if DATASET in row.where:
        asked.setdefault(DATASET, row.where[DATASET])  # the others need not be here
    planned = plan(named.suite.name, data_dir, **asked)
    cells = [job for job in planned.cells if any(other is row for other in rows_of(job.cell, named.suite.published))]
    if not cells:
        left_out = "; ".join(f"{name}: {reason}" for name, reason in planned.left_out.items())
        problem = "no cell of the request measures it" + (f"; left out, {left_out}" if left_out else "")
        wanted = ", ".join(f"{name} = {value}" for name, value in row.where.items())
        expected = f"cells with {wanted} do"
        raise UsageError(
            Kind.CONFLICT, problem, flag=ROW, value=f"{named.name}, {describe_row(row)}", expected=expected
        )
    about = f"{named.name}, as published: {describe_row(row)} ({row.source})"
    return RowAim(named, cells, [about, *_list_notes(named), *planned.remarks])


def _list_notes(named: NamedRow) -> list[str]:
    """Returns what of the paper's protocol differs, or is not known."""
    row = named.row
    return [
        *named.suite.deviations,
        *([row.differs] if row.differs else []),
        *(["the published number was not checked against the paper"] if row.unverified else []),
    ]
