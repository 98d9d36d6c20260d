"""Contenders of a run, each paired with the same contender of a reference."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from capsbench.comparing.data import other_data
from capsbench.comparing.side import (
    Contender,
    Side,
    make_steps,
    match_contenders,
    title_contenders,
    title_side_cells,
    to_experiment,
)
from capsbench.comparing.versions import other_measures, other_training, without_measures
from capsbench.measures.spec import MeasureSpec
from capsbench.presenting.steps import Steps
from capsbench.records.cell import Cell
from capsbench.records.specs import find_unrepeatable, specs_of


class Pair(NamedTuple):
    """One contender: its records in the reference, and those of the run."""

    title: str
    reference: Contender
    current: Contender


class Pairing:
    """A reference and a run.

    Attributes:
        titles: identity of a contender -> title.
        cells: identity of a cell -> title.
        sources: identity -> cell, of all networks that the condition of a row may name.
        shared: identities of a contender in the reference and in the run.
    """

    def __init__(self, reference: Side, current: Side) -> None:
        self.reference, self.current = reference, current
        self.titles = title_contenders(current, reference)
        self.cells = title_side_cells(current, reference)
        self.sources: dict[str, Cell] = {
            record.cell.id: record.cell for record in (*reference.records, *current.records)
        }
        self.shared = match_contenders(reference, current)

    @cached_property
    def all(self) -> list[Pair]:
        """All contenders that both sides have."""
        return [
            Pair(self.titles[old], self.reference.contenders[old], self.current.contenders[new])
            for old, new in self.shared
        ]

    @cached_property
    def comparable(self) -> list[Pair]:
        """The contenders of which both sides had the same data and versions, without measures of other versions."""
        pairs = []
        for title, before, now in self.all:
            if not (other_training(before, now) or other_data(before, now).certain):
                others = other_measures(before, now)
                pairs.append(Pair(title, without_measures(before, others), without_measures(now, others)))
        return pairs

    @cached_property
    def steps(self) -> Steps:
        """The steps of the numbers of both sides."""
        return make_steps(self.reference, self.current)

    @cached_property
    def specs(self) -> dict[str, MeasureSpec]:
        """The specs of the measures of both sides; for a user's own measure that of the reference."""
        return {**specs_of(self.current.records), **specs_of(self.reference.records)}

    @cached_property
    def unrepeatable(self) -> frozenset[tuple[str, str]]:
        """The measures and metrics of times and memory."""
        return find_unrepeatable(self.specs)

    @property
    def datasets(self) -> set[str]:
        """The data sets of the contenders that both sides have."""
        return {pair.reference.cell.dataset for pair in self.all}

    def absent_sources(self, seed: int) -> set[str]:
        """Returns the experiments of all sources that the run does not have with a seed."""
        return self._experiments - self._experiments_by_seed.get(seed, set())

    @cached_property
    def _experiments(self) -> set[str]:
        return {to_experiment(cell) for cell in self.sources.values()}

    @cached_property
    def _experiments_by_seed(self) -> dict[int, set[str]]:
        experiments: dict[int, set[str]] = {}
        for record in self.current.records:
            experiments.setdefault(record.cell.seed, set()).add(to_experiment(record.cell))
        return experiments
