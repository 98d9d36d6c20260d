"""Loads the data sets of a plan before its run: missing data end a run early, and a user's own data identify their cells.

A user's own data set is loaded in a process of its own. Its code may crash, or leave by ``os._exit``, which would end the
command without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from capsbench import registry
from capsbench.data.base import load_splits
from capsbench.data.digest import digest_parts, join_digests
from capsbench.data.draws import draw_few
from capsbench.errors import Kind, ProcessFailed, UsageError
from capsbench.planning.matrix import PlannedCell
from capsbench.records.cell import DATA, Cell
from capsbench.running.executors.base import Job
from capsbench.running.executors.processes import in_processes
from capsbench.sources import changed_parts


def check_data(cells: Sequence[Cell], folder: Path, leave_out: bool = False) -> dict[str, str]:
    """Loads every data set once, so that a missing file or too large a train size ends the run before it starts.

    Args:
        folder: the data folder.
        leave_out: return the data sets that cannot be loaded, rather than raise.

    Returns:
        With ``leave_out``: data set -> why it cannot be loaded.

    Raises:
        UsageError: a data set cannot be loaded, with ``leave_out`` none of them; or it has too few images for a train size.
    """
    missing = {}
    datasets = sorted({cell.dataset for cell in cells})
    for dataset in datasets:
        sizes = sorted({cell.train_size for cell in cells if cell.dataset == dataset and cell.train_size})
        try:
            count_images(dataset, folder, sizes)
        except UsageError as error:
            if not leave_out or error.flag == "train_size":
                raise
            missing[dataset] = str(error)
    if missing and len(missing) == len(datasets):
        reasons = "; ".join(f"{dataset}: {reason}" for dataset, reason in missing.items())
        problem = f"none of the data can be loaded here: {reasons}"
        raise UsageError(Kind.MISSING, problem, flag="dataset", value=", ".join(missing))
    return missing


def count_images(dataset: str, folder: Path, train_sizes: Sequence[int] = ()) -> dict[str, int]:
    """Loads a data set and returns the number of images of each part.

    Raises:
        UsageError: it cannot be loaded, or has too few training images for one of ``train_sizes``.
    """
    if dataset in registry.BUILT_IN["dataset"]:
        return load_and_count(dataset, folder, train_sizes)
    counts: dict[str, int] = _call_in_process(load_and_count, dataset, folder, train_sizes)
    return counts


def identify_data(planned: Sequence[PlannedCell], folder: Path, leave_out: bool = False) -> list[PlannedCell]:
    """Adds a digest of the data to cells of a user's own data sets, each of which is loaded twice.

    Args:
        folder: the data folder.
        leave_out: leave cells as they are whose data set cannot be loaded, rather than raise.

    Raises:
        UsageError: a data set cannot be loaded, or its two loads differ.
    """
    parts: dict[str, dict[str, str]] = {}
    for dataset in sorted({job.cell.dataset for job in planned if "dataset" in job.cell.code}):
        try:
            parts[dataset] = _call_in_process(load_and_digest, dataset, folder)
        except UsageError:
            if not leave_out:
                raise
    return [_add_digest(job, parts[job.cell.dataset]) if job.cell.dataset in parts else job for job in planned]


def list_data_files(dataset: str, folder: Path) -> tuple[str, ...]:
    """Returns the files that a data set declares, as they lie in the data folder, by their paths inside it."""
    found = (file.find_in(folder) for file in registry.get("dataset", dataset).files)
    paths = [path for path in found if path is not None]
    files = [
        file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()
    ]
    return tuple(file.relative_to(folder).as_posix() for file in files)


def load_and_count(dataset: str, folder: Path, train_sizes: Sequence[int], send: Any = None) -> dict[str, int]:
    """The work of `count_images`."""
    splits = load_splits(dataset, folder)
    for size in train_sizes:
        draw_few(splits.train, size, seed=0, name=dataset)
    return {part: len(images.labels) for part, images in splits.by_name().items()}


def load_and_digest(dataset: str, folder: Path, send: Any = None) -> dict[str, str]:
    """Loads a data set twice and returns the digests of its parts (`digest_parts`); raises UsageError if the loads differ."""
    parts, again = (digest_parts(load_splits(dataset, folder)) for _ in range(2))
    if other := changed_parts(parts, again):
        problem = f"not the same at every load: {', '.join(other)}"
        remedy = "draw with a seed of its own, in a fixed order of files"
        raise UsageError(Kind.CONFLICT, problem, flag="dataset", value=dataset, expected=remedy)
    return parts


def _call_in_process(function: Callable[..., Any], dataset: str, *arguments: Any) -> Any:
    ((_, result),) = in_processes([Job(dataset, function, (dataset, *arguments))])
    if isinstance(result, ProcessFailed):
        raise UsageError(Kind.DAMAGED, f"cannot be loaded: {result}", flag="dataset", value=dataset) from result
    if isinstance(result, Exception):
        raise result
    return result


def _add_digest(planned: PlannedCell, parts: dict[str, str]) -> PlannedCell:
    code = {**planned.cell.code, DATA: join_digests(parts)}
    return replace(planned, cell=planned.cell.model_copy(update={"code": code}), data=parts)
