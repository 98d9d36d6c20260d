"""Finds the files of a results folder that no later command needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from capsbench.errors import UsageError
from capsbench.pruning.sizes import Size
from capsbench.records.record import Record, Run
from capsbench.records.runs import find_left_to_retrain
from capsbench.records.sharing.leases import Lease
from capsbench.records.store import Store

CHECKPOINTS, KEPT, BETWEEN = "checkpoints", "kept", "between"
TEMPORARY, LEASES, WEIGHTS = "temporary", "leases", "weights"
KINDS = {
    CHECKPOINTS: "checkpoints of trained networks",
    KEPT: "arrays that no record names",
    BETWEEN: "numbers between two networks, one of which has no record",
    TEMPORARY: "temporary files of processes that have ended",
    LEASES: "leases of processes that have ended",
    WEIGHTS: "weights of finished networks, and those without a record",
}
"""The kinds of files that may go. Weights are asked for by name, since later measures need them."""

_IDENTITY = re.compile("[0-9a-f]{12}")


@dataclass(frozen=True)
class Waste:
    """A file that may go.

    Attributes:
        kind: one of `KINDS`.
        cells: the identities of the cells that it belongs to; empty for a temporary file.
    """

    kind: str
    path: Path
    cells: tuple[str, ...]
    size: Size


class Networks:
    """The networks on record in a folder, by all identities that they have or had.

    Args:
        records: those that can be read.
        runs: the runs noted in the folder.
    """

    def __init__(self, store: Store, records: Sequence[Record], runs: Iterable[Run]) -> None:
        self.store = store
        self.records = {name: record for record in records for name in (record.cell.id, *record.aliases)}
        self.left_to_retrain = {record.cell.id for record in find_left_to_retrain(runs, records)}
        self.kept = {taken.kept.path for record in records for taken in record.measures.values() if taken.kept}

    def reread(self, cell_id: str) -> None:
        """Reads the record of a cell again, which another process may have written since."""
        self.records.pop(cell_id, None)
        with suppress(UsageError):
            record = self.records[cell_id] = self.store.read(cell_id)
            self.kept |= {taken.kept.path for taken in record.measures.values() if taken.kept}

    def has_gone(self, cell_id: str) -> bool:
        """Returns true for a cell without a record; a record that cannot be read is one."""
        return cell_id not in self.records and not self.store.record_path(cell_id).exists()

    def is_trained(self, cell_id: str) -> bool:
        """Returns true if the present training of a cell is on record, and no run is to train it again."""
        record = self.records.get(cell_id)
        if record is None or record.training is None or record.is_outdated:
            return False
        return record.cell.id not in self.left_to_retrain

    def is_finished(self, cell_id: str) -> bool:
        """Returns true if a cell is trained and has measures, all that were wanted."""
        record = self.records.get(cell_id)
        if record is None or not self.is_trained(cell_id) or not record.measures:
            return False
        return record.status == "finished" and not record.failures

    def is_waste(self, kind: str, path: Path) -> bool:
        """Returns true if a file of a kind may go."""
        cell_id = path.stem
        if kind == CHECKPOINTS:
            return self.is_trained(cell_id)
        if kind == KEPT:
            known = cell_id in self.records or self.has_gone(cell_id)
            return known and path.relative_to(self.store.folder).as_posix() not in self.kept
        if kind == BETWEEN:
            return self.has_gone(path.parent.name) or self.has_gone(cell_id)
        if kind == WEIGHTS:
            return self.is_finished(cell_id) or self.has_gone(cell_id)
        return True


def find_waste(networks: Networks, leases: Sequence[Lease], *, weights: bool = False) -> list[Waste]:
    """Lists the files that may go, also those of cells on which commands work at the moment.

    Args:
        leases: those of the folder.
        weights: list weights too.
    """
    folder = networks.store.folder
    waste = [
        Waste(kind, path, cells, _measure_file(path))
        for kind, path, cells in _list_candidates(folder)
        if networks.is_waste(kind, path) and (weights or kind != WEIGHTS)
    ]
    waste += [Waste(TEMPORARY, path, (), _measure_file(path)) for path in networks.store.find_temporaries()]
    stale = [lease for lease in leases if lease.is_stale]
    paths = [folder / "leases" / f"{lease.cell_id}.{lease.generation}.json" for lease in stale]
    waste += [
        Waste(LEASES, path, (lease.cell_id,), _measure_file(path)) for path, lease in zip(paths, stale, strict=True)
    ]
    return waste


def _list_candidates(folder: Path) -> Iterator[tuple[str, Path, tuple[str, ...]]]:
    """Yields the kind, the path and the cells of each file whose name says that it belongs to a cell."""
    for kind, pattern in (
        (CHECKPOINTS, "checkpoints/*.safetensors"),
        (KEPT, "kept/*/*.safetensors"),
        (BETWEEN, "between/*/*/*.json"),
        (WEIGHTS, "weights/*.safetensors"),
    ):
        for path in sorted(folder.glob(pattern)):
            names = [path.parent.name, path.stem] if kind == BETWEEN else [path.stem]
            if all(map(_IDENTITY.fullmatch, names)):
                yield kind, path, tuple(dict.fromkeys(names))


def _measure_file(path: Path) -> Size:
    try:
        return Size(1, path.lstat().st_size)
    except FileNotFoundError:  # it went meanwhile
        return Size()
