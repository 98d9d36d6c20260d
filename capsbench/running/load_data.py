"""Loads the data sets of a plan before its run: missing data end a run early, and a user's own data identify their cells.

A user's own data set is loaded in a process of its own. Its code may crash, or leave by ``os._exit``, which would end the
command without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from capsbench import registry
from capsbench.data.base import load_splits
from capsbench.data.digest import digest_parts, join_digests
from capsbench.data.draws import draw_few
from capsbench.errors import Kind, ProcessFailed, UsageError
from capsbench.measures.build import make_measure
from capsbench.planning.matrix import PlannedCell
from capsbench.records.cell import DATA, Cell, Scalar
from capsbench.records.folder import explain_moved
from capsbench.records.parts import open_dataset
from capsbench.running.executors.base import Job
from capsbench.running.executors.processes import in_processes
from capsbench.sources import changed_parts, locations


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
    for (dataset, options), alike in group_by_data(cells).items():
        sizes = sorted({cell.train_size for cell in alike if cell.train_size})
        try:
            count_images(dataset, folder, sizes, dict(options))
        except UsageError as error:
            if not leave_out or error.flag == "train_size":
                raise
            missing[dataset] = str(error)
    if missing and len(missing) == len(datasets):
        reasons = "; ".join(f"{dataset}: {reason}" for dataset, reason in missing.items())
        problem = f"none of the data can be loaded here: {reasons}"
        raise UsageError(Kind.MISSING, problem, flag="dataset", value=", ".join(missing))
    return missing


DataKey = tuple[str, tuple[tuple[str, Scalar], ...]]
"""A data set and its options: cells with the same ones have the same images."""


def data_key(cell: Cell) -> DataKey:
    """Returns what the images of a cell depend on."""
    return cell.dataset, tuple(sorted(cell.component_options("dataset").items()))


def group_by_data(cells: Iterable[Cell]) -> dict[DataKey, list[Cell]]:
    """Returns data set and options -> their cells, sorted by the data set."""
    groups: dict[DataKey, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.dataset):
        groups.setdefault(data_key(cell), []).append(cell)
    return groups


def count_images(
    dataset: str,
    folder: Path,
    train_sizes: Sequence[int] = (),
    options: Mapping[str, Scalar] = MappingProxyType({}),
) -> dict[str, int]:
    """Loads a data set and returns the number of images of each part.

    Raises:
        UsageError: it cannot be loaded, or has too few training images for one of ``train_sizes``.
    """
    if dataset in registry.BUILT_IN["dataset"]:
        return load_and_count(dataset, folder, train_sizes, options)
    counts: dict[str, int] = _call_in_process(load_and_count, dataset, folder, train_sizes, dict(options))
    return counts


def identify_data(planned: Sequence[PlannedCell], folder: Path, leave_out: bool = False) -> list[PlannedCell]:
    """Adds a digest of the data to cells of a user's own data sets, each of which is loaded: twice if by code of the user's.

    Args:
        folder: the data folder.
        leave_out: leave cells as they are whose data set cannot be loaded, rather than raise.

    Raises:
        UsageError: a data set cannot be loaded, or its two loads differ.
    """
    parts: dict[DataKey, dict[str, str]] = {}
    own = (job.cell for job in planned if "dataset" in job.cell.code or locations.split_scheme(job.cell.dataset)[0])
    for (dataset, options), alike in group_by_data(own).items():
        times = 2 if "dataset" in alike[0].code else 1
        try:
            parts[dataset, options] = _call_in_process(load_and_digest, dataset, folder, dict(options), times)
        except UsageError:
            if not leave_out:
                raise
    return [_add_digest(job, parts[key]) if (key := data_key(job.cell)) in parts else job for job in planned]


def find_unfit(cells: Iterable[Cell], folder: Path) -> dict[str, UsageError]:
    """Returns cell -> error with a remedy, for those on record whose images are a user's own and not those of the training.

    Args:
        folder: the data folder.
    """
    faults: dict[str, UsageError] = {}
    for (dataset, options), alike in group_by_data(cell for cell in cells if DATA in cell.code).items():
        fault, digest = explain_moved(alike[0]), ""
        if fault is None:
            problem = "the images or labels have changed since the training"
            fault = UsageError(Kind.CONFLICT, problem, flag="dataset", value=dataset, expected=RESTORE)
            try:
                digest = join_digests(_call_in_process(load_and_digest, dataset, folder, dict(options), 1))
            except UsageError as error:
                fault = error
        faults |= {cell.id: fault for cell in alike if cell.code[DATA] != digest}
    return faults


RESTORE = "restore them, name a copy of them as they were by {flag:dataset}, or train on the new ones by the command on record"
"""The remedy for images that are not those of a training."""


def list_data_files(
    dataset: str, folder: Path, options: Mapping[str, Scalar] = MappingProxyType({})
) -> tuple[str, ...]:
    """Returns the files that a data set declares, as they lie in the data folder, by their paths inside it."""
    found = (file.find_in(folder) for file in open_dataset(dataset, options).files)
    paths = [path for path in found if path is not None]
    files = [
        file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()
    ]
    return tuple(file.relative_to(folder).as_posix() for file in files)


def list_cell_files(cell: Cell, specs: Iterable[str], folder: Path) -> tuple[str, ...]:
    """Returns the files of a cell's data set and of the further ones that measures read, as `list_data_files` does."""
    own = list_data_files(cell.dataset, folder, cell.component_options("dataset"))
    further = (dataset for spec in specs for dataset in make_measure(spec).list_datasets(cell))
    return tuple(dict.fromkeys((*own, *(file for dataset in further for file in list_data_files(dataset, folder)))))


def find_own_data(cells: Iterable[Cell]) -> set[str]:
    """Returns the folders and files of images that the cells are trained on, each after its scheme: ``folder:/data/shapes``."""
    return {spec for cell in cells if (spec := locations.spec_of(cell.dataset)) is not None}


def load_and_count(
    dataset: str, folder: Path, train_sizes: Sequence[int], options: Mapping[str, Scalar], send: Any = None
) -> dict[str, int]:
    """The work of `count_images`."""
    splits = load_splits(dataset, folder, options=options)
    for size in train_sizes:
        draw_few(splits.train, size, seed=0, name=dataset)
    return {part: len(images.labels) for part, images in splits.by_name().items()}


def load_and_digest(
    dataset: str, folder: Path, options: Mapping[str, Scalar] = MappingProxyType({}), times: int = 2, send: Any = None
) -> dict[str, str]:
    """Loads a data set some times and returns the digests of its parts; raises UsageError if the loads differ."""
    parts, *others = (digest_parts(load_splits(dataset, folder, options=options)) for _ in range(times))
    if other := [name for again in others for name in changed_parts(parts, again)]:
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
