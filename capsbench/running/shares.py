"""Runs whose jobs record their results themselves: each does a share of the run, one phase of one cell.

This is for executors that share the results folder with their jobs. What a share finishes is on record, also if the command
that started the run has ended or was killed by then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from capsbench import registry
from capsbench.planning.matrix import PlannedCell
from capsbench.presenting.terminal import make_console
from capsbench.running.events import (
    CellEnded,
    JobReported,
    MeasuringAlone,
    MeasuringBetween,
    RunStarted,
)
from capsbench.running.executors.base import Detached, Executor, FailureOnRecord, Job, Place, SendEvent, Settings
from capsbench.running.executors.local import LocalExecutor
from capsbench.running.progress import PlainProgress
from capsbench.running.runner import Runner
from capsbench.running.state import find_missing, list_events


class Phase(StrEnum):
    """A phase of a run."""

    TRAIN = "train"  # with the measures that may be taken side by side
    ALONE = "alone"
    BETWEEN = "between"


@dataclass(frozen=True)
class Share:
    """The share of a run that one job does.

    Attributes:
        planned: the cell; for measures between networks followed by the cells of the other networks.
        anew: the cell is trained again, whatever is on record.
        run: the number of the run; None if it only measures networks on record.
        train, cell_timeout, checkpoint_seconds: as in `Runner`.
        trusted: the import paths of a user's own components, see `capsbench.registry.trust`.
    """

    phase: Phase
    planned: tuple[PlannedCell, ...]
    anew: bool
    run: int | None
    train: bool
    cell_timeout: float | None
    checkpoint_seconds: float
    trusted: frozenset[str]

    @property
    def name(self) -> str:
        """The name of the job: it tells the cell, the phase, and a digest of what is wanted of it."""
        wanted = [(planned.cell.id, sorted(planned.measures)) for planned in self.planned]
        digest = hashlib.sha256(repr((wanted, self.anew)).encode()).hexdigest()[:8]
        return f"{self.planned[0].cell.id}-{self.phase}-{digest}"


def record_share(share: Share, place: Place, send: SendEvent) -> None:
    """Does a share of a run: takes the lease of its cell and records what it computes.

    Raises:
        FailureOnRecord: the training or a measure failed.
        KeyboardInterrupt: a signal interrupted the share; the same share later goes on from there.
    """
    registry.trust(share.trusted)
    with PlainProgress(make_console()) as progress:
        runner = _ShareRunner(
            share.planned,
            place.store,
            place.data_folder,
            progress,
            train=share.train,
            executor=LocalExecutor(place, Settings()),
            cell_timeout=share.cell_timeout,
            checkpoint_seconds=share.checkpoint_seconds,
            share=share,
        )
        outcome = runner.run()
    if outcome.interrupted:
        raise KeyboardInterrupt
    for record in outcome.failed:
        if record.cell.id == share.planned[0].cell.id:
            raise FailureOnRecord(record.reason)


@dataclass
class _ShareRunner(Runner):
    """Runs one phase of one cell for another run, which looked at the data and wrote the note."""

    share: Share = field(kw_only=True)

    def _check_data(self) -> None:
        pass

    def _note_run(self) -> None:
        self.recorder.sequence = self.share.run
        self.listener.notify(RunStarted(tuple(planned.cell for planned in self.planned), ()))

    def _run_phases(self) -> None:
        match self.share.phase:
            case Phase.TRAIN:
                self._train_and_measure()
            case Phase.ALONE:
                self._measure_alone()
            case Phase.BETWEEN:
                self._measure_between()

    def _find_targets(self, spec: str, source: PlannedCell, networks: Sequence[PlannedCell]) -> list[PlannedCell]:
        is_mine = source.cell.id == self.share.planned[0].cell.id
        return super()._find_targets(spec, source, networks) if is_mine else []


@dataclass
class SharingRunner(Runner):
    """Runs cells by jobs that record their results themselves: hands out the phases as shares, one phase after the other."""

    def _run_phases(self) -> None:
        try:
            for phase in Phase:
                self._hand_out(phase)
        except Detached as end:
            self.outcome.detached = end.jobs

    def _hand_out(self, phase: Phase) -> None:
        shares = {share.name: share for share in self._list_shares(phase)}
        if phase is Phase.BETWEEN:
            for spec in sorted({spec for share in shares.values() for spec in share.planned[0].measures}):
                self.listener.notify(MeasuringBetween(spec, len(shares)))

        def make_jobs() -> Iterator[Job]:
            for share in shares.values():
                planned = share.planned[0]
                if phase is Phase.ALONE:
                    self.listener.notify(MeasuringAlone(planned.cell, tuple(self._select_missing(planned, alone=True))))
                yield Job(share.name, record_share, (share,), planned.cell.threads, planned.device)

        def pass_on(name: str, remark: Any) -> None:
            self.listener.notify(remark)

        for name, result in self._executor.run(make_jobs(), pass_on, alone=phase is Phase.ALONE):
            self._take_over(shares[name], result)

    def _list_shares(self, phase: Phase) -> list[Share]:
        planned: list[tuple[PlannedCell, ...]]
        if phase is Phase.TRAIN:
            planned = [(cell,) for cell in self._find_work()]
        elif phase is Phase.ALONE:
            trained = [cell for cell in self.unfinished.values() if cell.cell.id in self.records]
            planned = [(cell,) for cell in trained if self._select_missing(cell, alone=True)]
        else:
            planned = [cells for spec in self._list_between() for cells in self._list_sources(spec)]
        anew, run, trusted = {*self.on_record.retrain}, self.recorder.sequence, registry.trusted_paths()
        return [
            Share(
                phase,
                cells,
                cells[0].cell.id in anew,
                run,
                self.train,
                self.cell_timeout,
                self.checkpoint_seconds,
                trusted,
            )
            for cells in planned
        ]

    def _list_sources(self, spec: str) -> Iterator[tuple[PlannedCell, ...]]:
        """Yields each network from which a measure is missing, with all to which it is."""
        networks = [replace(cell, measures=(spec,)) for cell in self._find_networks(spec)]
        for source in networks:
            if targets := self._find_targets(spec, source, networks):
                yield source, *(target for target in targets if target is not source)

    def _take_over(self, share: Share, result: Any) -> None:
        """Takes over what a share recorded; records the failure of one that could not do so."""
        planned = share.planned[0]
        before = self.records.get(planned.cell.id)
        record = self.recorder.reread(planned.cell)
        if record is not None:
            self.missing[planned.cell.id] = find_missing(planned, record)
            for event in list_events(before, record):
                self.listener.notify(JobReported(planned.cell, event))
        if isinstance(result, Exception) and not isinstance(result, FailureOnRecord):
            self.leases.take(planned.cell.id)
            record = self.recorder.record_failure(planned, self._find_unfinished(share), result)
            self.leases.release(planned.cell.id)
        elif record is None:
            record = self.store.read(planned.cell.id)
        self.outcome.note_record(record)
        if share.phase is Phase.TRAIN or record.failures:
            self.listener.notify(CellEnded(record))

    def _find_unfinished(self, share: Share) -> list[str]:
        """Returns the measures of a share that are not on record."""
        planned = share.planned[0]
        if share.phase is Phase.BETWEEN:
            return [*planned.measures]
        return self._select_missing(planned, alone=share.phase is Phase.ALONE)


def choose_runner(executor: Executor) -> type[Runner]:
    """Returns the class of the runs that an executor can carry out."""
    return SharingRunner if executor.records_results else Runner
