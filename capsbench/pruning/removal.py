"""Removes what may go of a results folder, each file under the lease of its cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capsbench.errors import Kind, StorageFailed, UsageError
from capsbench.pruning.sizes import Size, sum_sizes
from capsbench.pruning.waste import KINDS, LEASES, Networks, Waste, find_waste
from capsbench.records.folder import check_folder
from capsbench.records.sharing.activity import Activity
from capsbench.records.sharing.leases import Leases
from capsbench.records.store import Store
from capsbench.records.swap import read_whole


@dataclass(frozen=True)
class Pruned:
    """The result of `prune`.

    Attributes:
        files: those that may go, or were deleted.
        deleted: true if they were deleted.
        left_alone: identities of cells whose files could go, but on which commands work.
    """

    files: list[Waste]
    deleted: bool
    left_alone: list[str]

    @property
    def sizes(self) -> dict[str, Size]:
        """The size of each kind that has files, in the order of `KINDS`."""
        return sum_by_kind(self.files)


def prune(folder: str | Path = "results", *, weights: bool = False, yes: bool = False) -> Pruned:
    """Lists the files of a results folder that no later command needs, and deletes them if ``yes``.

    They are: checkpoints of trained networks; kept arrays that no record names; numbers between two networks, one of which has no
    record; temporary files and leases of processes that have ended. A cell on which a command works is left alone.

    Args:
        folder: the results folder.
        weights: also the weights of finished networks and those without a record. Later measures and `show` need them; only
            training again brings them back.
        yes: delete the files.

    Raises:
        UsageError: there is no such folder; a newer capsbench wrote in it; or weights are to be deleted while a command works in
            the folder, which may need those of any network.
        StorageFailed: a file cannot be deleted.
    """
    store = Store(folder)
    check_folder(store)
    store.check_none_newer()
    records, _ = read_whole(store.folder, "out", store.records)
    networks = Networks(store, records, store.runs())
    leases = Leases(store.folder).read_all()
    busy = {lease.cell_id for lease in leases if not lease.is_stale}
    if weights and yes and busy:
        problem = f"commands work on {len(busy)} cells, and may need the weights of others"
        raise UsageError(
            Kind.BUSY, problem, flag="weights", file=store.folder, expected="wait until `capsbench status` shows none"
        )
    waste = find_waste(networks, leases, weights=weights)
    if yes:
        return _delete_files(networks, waste)
    free = [file for file in waste if busy.isdisjoint(file.cells)]
    left_alone = {cell_id for file in waste for cell_id in busy.intersection(file.cells)}
    return Pruned(free, deleted=False, left_alone=sorted(left_alone))


def sum_by_kind(files: Sequence[Waste]) -> dict[str, Size]:
    """Returns the size of each kind of files, in the order of `KINDS`; kinds without files are left out."""
    sizes = {kind: sum_sizes(file.size for file in files if file.kind == kind) for kind in KINDS}
    return {kind: size for kind, size in sizes.items() if size.files}


def _delete_files(networks: Networks, waste: Sequence[Waste]) -> Pruned:
    by_cells: dict[tuple[str, ...], list[Waste]] = {}
    for file in waste:
        by_cells.setdefault(file.cells, []).append(file)
    deleted: list[Waste] = []
    left_alone: set[str] = set()
    with Leases(networks.store.folder) as leases:
        for cells, files in by_cells.items():
            for cell_id in cells:
                leases.describe(cell_id, Activity(doing="pruning"))
            busy = [cell_id for cell_id in cells if not leases.take(cell_id)]
            if busy:
                left_alone.update(busy)
            else:
                deleted += _delete_of_cells(networks, cells, files)
            for cell_id in cells:
                leases.release(cell_id)
    return Pruned(deleted, deleted=True, left_alone=sorted(left_alone))


def _delete_of_cells(networks: Networks, cells: Sequence[str], files: Sequence[Waste]) -> list[Waste]:
    """Deletes those files of leased cells that may still go, and returns them."""
    for cell_id in cells:
        networks.reread(cell_id)
    free = [file for file in files if networks.is_waste(file.kind, file.path)]
    for file in free:
        if file.kind != LEASES:  # it goes when its successor, which is this process now, gives it back
            try:
                file.path.unlink(missing_ok=True)
            except OSError as error:
                raise StorageFailed(f"{file.path}: cannot be deleted: {error.strerror}") from error
    return free
