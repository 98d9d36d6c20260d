"""Whether a folder that a user names is one of records, and has any: one answer for all who read some."""

from __future__ import annotations

from pathlib import Path

from capsbench import registry
from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.records.swap import settle
from capsbench.records.versions import components_of


def check_folder(store: Store, flag: str = "out") -> None:
    """Raises UsageError unless a run, or an update of a reference, made the folder; an update that was stopped is finished first.

    Args:
        flag: the flag or positional argument that names it.
    """
    if store.folder.is_dir():
        settle(store.folder, flag)
    if not store.folder.is_dir():
        problem = "a file, no folder" if store.folder.exists() else "no such folder"
    elif not any((store.folder / name).is_dir() for name in ("records", "runs")):
        problem = "not a folder of records"
    else:
        return
    raise UsageError(Kind.MISSING, problem, flag=flag, file=store.folder, expected="name one that `capsbench run` made")


def allow_own(*stores: Store) -> None:
    """Lets the own parts of networks on record be imported, from where the runs of their folder found them, the latest first.

    Only for a user who says that the records are to be trusted. Another module of that name that Python finds before is told by
    its digest.
    """
    for store in stores:
        records, _ = store.records()
        registry.trust(name for record in records for _, name in components_of(record.cell))
        registry.look_in(Path(folder) for run in reversed(store.runs()) for folder in run.folders)


def some_records(store: Store, flag: str = "out") -> tuple[list[Record], list[str]]:
    """All readable records, one or more, and a line for each fault, as `Store.records`.

    Args:
        flag: as in `check_folder`.

    Raises:
        UsageError: it is no folder of records, or none of them can be read.
        NothingMeasured: there is none yet.
    """
    check_folder(store, flag)
    records, faults = store.records()
    if faults and not records:
        problem = f"none of its {len(faults)} records can be read; the first: {faults[0]}"
        raise UsageError(Kind.DAMAGED, problem, flag=flag, file=store.folder)
    if not records:
        remedy = f"`capsbench run` with {{flag:out}} {store.folder} makes some"
        raise NothingMeasured(Kind.MISSING, "no records here", flag=flag, file=store.folder, expected=remedy)
    return records, faults
