"""A published row or a record, run again in a folder of its own, and compared with what it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from capsbench.data.base import data_folder
from capsbench.errors import Kind, UsageError
from capsbench.planning.defaults import SECONDS_BETWEEN_CHECKPOINTS
from capsbench.planning.request import split_values
from capsbench.planning.suites.rows import ROW, is_row_name
from capsbench.predicting import find_trained
from capsbench.records.store import Store
from capsbench.reproducing.aim import Aim
from capsbench.reproducing.record import aim_at_record
from capsbench.reproducing.reproduction import Reproduction, Verdict
from capsbench.reproducing.row import aim_at_row
from capsbench.running.machines import Machines

__all__ = ["OUT", "Reproduction", "Verdict", "plan_reproduction", "reproduce"]

OUT = "reproduced"
"""The results folder of reproductions by default."""


def reproduce(
    row: str | Path,
    *,
    out: str | Path = OUT,
    data_dir: str | Path | None = None,
    dataset: str | Sequence[str] = (),
    fresh: bool = False,
    workers: int | None = None,
    per_gpu: int = 1,
    cell_timeout: str | float | None = None,
    checkpoint_seconds: float = SECONDS_BETWEEN_CHECKPOINTS,
    allow_code: bool = False,
    command: str = "capsbench.reproduce",
    console: Console | None = None,
    **request: Any,
) -> Reproduction:
    """Runs a published row or a record again, and compares the numbers.

    An interrupted reproduction goes on by the same call; one that is on record in ``out`` is compared without a run.

    Args:
        row: a published row, ``"sabour2017:5"``, as `capsbench list row` names them, or words of it after its suite; or a record:
            the identity of a cell or its beginning, conditions, or words of its title, in ``results`` or after the folder,
            ``"FOLDER/CELL"``, as in `capsbench.network`.
        out: the results folder of the reproduction; not that of the record.
        dataset: where images of the user's own lie now that were moved since the training.
        allow_code: import a user's own parts that the record names, from the folders in which its run found them.
        data_dir, fresh, workers, per_gpu, cell_timeout, checkpoint_seconds, command, console: as in `capsbench.run`.
        request: of a row, values that replace the suite's, as in `capsbench.run`. Of a record, ``measure``, some of its
            measures, and fields of the machine such as ``device``; all else is as on record.

    Raises:
        UsageError: nothing was run; the message says what to change.
        StorageFailed: a result could not be written; those written before stay.
    """
    machines = Machines("local", workers, per_gpu, cell_timeout, checkpoint_seconds=checkpoint_seconds)
    aim = plan_reproduction(row, out=out, data_dir=data_dir, dataset=dataset, allow_code=allow_code, **request)
    store = Store(out)
    outcome = machines.run_cells(
        aim.planned,
        store,
        aim.remarks,
        data_dir=data_dir,
        console=console,
        suite=aim.suite,
        command=command,
        fresh=fresh,
    )
    return aim.conclude(store, outcome)


def plan_reproduction(
    row: str | Path,
    *,
    out: str | Path = OUT,
    data_dir: str | Path | None = None,
    dataset: str | Sequence[str] = (),
    allow_code: bool = False,
    **request: Any,
) -> Aim:
    """Returns what `reproduce` would run; the arguments and errors are those of `reproduce`."""
    if isinstance(row, str) and is_row_name(row):
        return aim_at_row(row, data_dir, request)
    try:
        found = find_trained(row)
    except UsageError as error:
        raise _name_row(error) from error
    if found.store.folder.resolve() == Path(out).resolve():
        problem = "the folder of the record itself, in which nothing would be run again"
        raise UsageError(Kind.CONFLICT, problem, flag="out", file=out, expected="name another")
    return aim_at_record(found, data_folder(data_dir), split_values(dataset), allow_code, request)


def _name_row(error: UsageError) -> UsageError:
    """Returns the error of a name that is that of no cell as one of a name that may be that of a row."""
    if error.flag in ("CELL", "out"):
        error.flag = ROW
        if isinstance(error.expected, str):
            error.expected += "; `capsbench list row` names the published rows"
    return error
