"""Whether a folder that a user names is one of records, and has any: one answer for all who read some."""

from __future__ import annotations

from pathlib import Path

from capsbench import registry
from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.records.swap import settle


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


def look_for_own(store: Store) -> None:
    """Has the modules of a user's own parts found where the runs of a folder found them, the latest first.

    Another module of that name that Python finds before is told by its digest.
    """
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
