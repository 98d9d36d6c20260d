"""Checks that a folder named by a user holds records; all commands that read records use these functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from capsbench import registry
from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.records.cell import Cell
from capsbench.records.parts import Parts
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.records.swap import finish_update, read_whole
from capsbench.sources import locations


def check_folder(store: Store, flag: str = "out") -> None:
    """Finishes an interrupted update of a folder, and raises UsageError unless the folder is one of records.

    Args:
        flag: the flag or positional argument that names it.
    """
    if store.folder.is_dir():
        finish_update(store.folder, flag)
    if not store.folder.is_dir():
        problem = "a file, no folder" if store.folder.exists() else "no such folder"
    elif not any((store.folder / name).is_dir() for name in ("records", "runs")):
        problem = "not a folder of records"
    else:
        return
    raise UsageError(Kind.MISSING, problem, flag=flag, file=store.folder, expected="name one that `capsbench run` made")


def allow_own(*stores: Store) -> None:
    """Trusts the user's own components that the records name, and looks for them where earlier runs found them, latest first.

    Call it only if the user trusts the records. If Python finds another module of the same name first, the digests differ.
    """
    for store in stores:
        records, _ = store.records()
        registry.trust(part.name for record in records for part in Parts.from_cell(record.cell))
        registry.look_in(Path(folder) for run in reversed(store.runs()) for folder in run.folders)


def find_data(store: Store, cells: Iterable[Cell] = (), moved: Sequence[str] = ()) -> None:
    """Looks for the images of records where earlier runs read them, latest first, unless the user says where they lie.

    Args:
        cells: those whose images are needed.
        moved: where images lie now, ``folder:data/shapes`` each.

    Raises:
        UsageError: there is no such path, or its name is that of no data set of the cells.
    """
    locations.restore((spec for run in reversed(store.runs()) for spec in run.data), replace=False)
    datasets = sorted({cell.dataset for cell in cells if locations.split_scheme(cell.dataset)[0]})
    for typed in moved:
        name, location = locations.find_location(typed)
        if location is None:
            expected = f"a path that exists, such as {datasets[0] if datasets else 'folder:shapes'}"
            raise UsageError(Kind.INVALID, flag="dataset", value=typed, expected=expected)
        if name not in datasets:
            problem = f"none of these networks was trained on {name}"
            listed = ", ".join(datasets) or "no images of one's own"
            expected = f"name a folder, a file or a link of the name on record: {listed}"
            raise UsageError(Kind.CONFLICT, problem, flag="dataset", value=typed, expected=expected)
        locations.place(name, location)


def explain_moved(cell: Cell) -> UsageError | None:
    """Returns the error, with its remedy, of a cell whose own images are not where a run found them; None if they are."""
    scheme, _ = locations.split_scheme(cell.dataset)
    path = Path(locations.path_of(cell.dataset))
    if not scheme or path.exists():
        return None
    problem = f"the images of {cell.dataset} are not here any more"
    remedy = f"{{flag:dataset}} {scheme}:PATH says where they lie now; they are recognised by their digest"
    return UsageError(Kind.MISSING, problem, flag="dataset", file=path, expected=remedy)


def require_records(store: Store, flag: str = "out") -> tuple[list[Record], list[str]]:
    """Reads all records of a folder, at least one, and a line for each fault, as `Store.records`.

    Args:
        flag: as in `check_folder`.

    Raises:
        UsageError: it is not a folder of records, or no record can be read.
        NothingMeasured: there is no record yet.
    """
    return read_whole(store.folder, flag, lambda: _require_records(store, flag))


def _require_records(store: Store, flag: str) -> tuple[list[Record], list[str]]:
    check_folder(store, flag)
    records, faults = store.records()
    if faults and not records:
        problem = f"none of its {len(faults)} records can be read; the first: {faults[0]}"
        raise UsageError(Kind.DAMAGED, problem, flag=flag, file=store.folder)
    if not records:
        raise explain_no_records(store, flag)
    return records, faults


def explain_no_records(store: Store, flag: str = "out") -> NothingMeasured:
    """Returns the error for a folder in which nothing is on record yet."""
    remedy = f"`capsbench run` with {{flag:out}} {store.folder} makes some"
    return NothingMeasured(Kind.MISSING, "no records here", flag=flag, file=store.folder, expected=remedy)
