"""The work of one cell, from its fields to its rows, in a process of its own."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from capsbench.data.base import load_splits
from capsbench.data.digest import digest_parts, join_digests
from capsbench.data.draws import draw_few
from capsbench.data.images import Splits
from capsbench.errors import FOREIGN, StorageFailed, TrainingFailed
from capsbench.measures.base import MeasureBetween, Subject
from capsbench.measures.build import declaration_of, find_extended, make_measure, source_of
from capsbench.measures.contract import check_rows
from capsbench.measures.guard import Guard
from capsbench.networks.build import build_network, count_parameters, parameter_dtype
from capsbench.networks.weights import read_state
from capsbench.planning.edits import find_edits
from capsbench.planning.matrix import PlannedCell
from capsbench.planning.request import WEIGHTS
from capsbench.records.cell import DATA, IMAGES, Cell
from capsbench.records.parts import Parts, dataset_of
from capsbench.records.record import TRAINING, Artifact, Record, Row
from capsbench.records.software.provenance import provenance
from capsbench.records.store import Store
from capsbench.records.versions import training_versions
from capsbench.registry import measure_name
from capsbench.routing.base import Routing
from capsbench.running.checkpoints import CheckpointFile
from capsbench.running.events import Measured, Measuring, NotMeasured, Trained
from capsbench.running.executors.base import Place, SendEvent
from capsbench.running.executors.processes import to_sendable
from capsbench.sources import changed_parts
from capsbench.sources.weights import digest_file
from capsbench.training.contract import check_contract
from capsbench.training.loop import train


def run_cell(
    planned: PlannedCell,
    measures: list[str],
    record: Record | None,
    checkpoint_seconds: float,
    place: Place,
    send: SendEvent,
) -> None:
    """Trains a cell's network from its seed and takes some measures of it; a network on record is only measured.

    An interrupted training goes on from its checkpoint. Sends each result at once: the progress of the training and `Trained`,
    then for each measure `Measuring`, and `Measured` or `NotMeasured`. The next measure is taken although one failed.

    Args:
        measures: the specs of the measures.
        record: the record of the network if it is trained, else None.
        checkpoint_seconds: the least time between two checkpoints of the training.
        place: holds the weights and kept arrays; the records are written by the process that receives the events.
    """
    store, began = place.store, time.monotonic()
    data, parts = prepare_process(planned, place.data_folder)
    digest = join_digests(parts)
    if record is None and planned.cell.is_given:
        network = _take_given(planned, data, parts, store, send)
    elif record is None:
        checkpoints = CheckpointFile(planned.cell, digest, store, checkpoint_seconds, send)
        network = _train_network(planned.cell, data, parts, store, checkpoints, began, send)
    elif any(make_measure(spec).needs_weights for spec in measures):
        network = _load_network(record, store)
    else:  # the weights may be absent
        network = build_network(planned.cell)
    arrays = _KeptArrays(store, planned.cell, record)
    for spec in measures:
        send(Measuring(spec))
        began, changed = time.monotonic(), list[str]()
        try:
            measure, code = make_measure(spec), source_of(spec)
            torch.manual_seed(planned.cell.seed)
            declaration = declaration_of(spec)
            guard = None if code is None else Guard(network, data)
            try:
                rows = measure(
                    Subject(planned.cell, network, data, arrays.make_keep(spec), arrays.read, place.data_folder)
                )
            finally:
                changed = [] if guard is None else guard.restore()
            if changed:
                raise TrainingFailed(f"changed the {', '.join(changed)}, expected a copy to be changed: images.clone()")
            rows = check_rows(spec, rows, declaration, extends=find_extended(spec))
            seconds = round(time.monotonic() - began, 3)
            kept, facts = arrays.written.get(spec), provenance()
            if measure.alone and place.shared:  # reports mark such times
                facts = {**facts, "shared_machine": True}
            send(Measured(spec, rows, seconds, measure.version, kept, code, digest, declaration, facts))
        except (BrokenPipeError, StorageFailed):
            raise
        except FOREIGN as error:
            send(NotMeasured(spec, to_sendable(error)))
        if changed:
            data, _ = prepare_process(planned, place.data_folder)


def measure_between(
    spec: str,
    planned: PlannedCell,
    source: Record,
    targets: list[Record],
    place: Place,
    send: SendEvent,
) -> tuple[dict[str, list[Row]], str, dict[str, Any]]:
    """Takes a measure between networks, from one to each of some others, with the weights in the store.

    Returns:
        The identity of each target -> its rows; the digest of the data; and the facts of the machine.
    """
    measure, store = make_measure(spec), place.store
    assert isinstance(measure, MeasureBetween)
    data, parts = prepare_process(planned, place.data_folder)
    subjects = [
        Subject(
            record.cell,
            _load_network(record, store),
            data,
            lambda tensors: None,
            _KeptArrays(store, record.cell, record).read,
            place.data_folder,
        )
        for record in (source, *targets)
    ]
    torch.manual_seed(0)
    declaration = declaration_of(spec)
    rows_by_target = zip(targets, measure.between(subjects[0], subjects[1:]), strict=True)
    checked = {target.cell.id: check_rows(spec, rows, declaration, source.cell.id) for target, rows in rows_by_target}
    return checked, join_digests(parts), provenance()


class _KeptArrays:
    """The arrays that measures keep of a cell: those on record, and those written since."""

    def __init__(self, store: Store, cell: Cell, record: Record | None) -> None:
        self.store, self.cell, self.record = store, cell, record
        self.written: dict[str, Artifact] = {}

    def make_keep(self, spec: str) -> Callable[[Mapping[str, Tensor]], None]:
        """Returns the function that a measure calls to keep tensors."""

        def keep_tensors(tensors: Mapping[str, Tensor]) -> None:
            # Reports read them with NumPy, which has no bfloat16; float32 represents all its numbers.
            floats = {
                name: tensor.float() if tensor.dtype is torch.bfloat16 else tensor for name, tensor in tensors.items()
            }
            self.written[spec] = self.store.write_tensors(self.store.kept_path(spec, self.cell.id), floats)

        return keep_tensors

    def read(self, measure: str) -> dict[str, Tensor]:
        """Reads the arrays of a measure, by its spec; by its name, those of the setting that was taken first."""
        matching = (artifact for spec, artifact in self.written.items() if measure in (spec, measure_name(spec)))
        artifact = next(matching, None)
        if artifact is not None:
            arrays = self.store.read_artifact(artifact)
        else:
            arrays = {} if self.record is None else self.store.kept(self.record, measure)
        return {name: torch.from_numpy(values) for name, values in arrays.items()}


def _train_network(
    cell: Cell,
    data: Splits,
    parts: dict[str, str],
    store: Store,
    checkpoints: CheckpointFile,
    began: float,
    send: SendEvent,
) -> nn.Module:
    """Trains the network of a cell, whose process began at a time of the monotonic clock, and sends `Trained`."""
    with checkpoints.written_at_sigterm():
        _seed_generators(cell.seed)
        network = build_network(cell)
        check_contract(cell, network, data)
        start = round(time.monotonic() - began, 3)
        history = train(cell, network, data, send, checkpoints)
        # Again, since training may move an activation out of [0, 1] that was near 0 before.
        check_contract(cell, network, data)
        segments = checkpoints.list_segments(len(history))
        seconds = round(sum(segment.seconds for segment in segments), 3)
        rows = [
            Row(TRAINING, "parameters", "network", count_parameters(network), "parameters"),
            Row(TRAINING, "epochs", "network", len(history), "epochs"),
            Row(TRAINING, "start", "network", start, "s"),
            Row(TRAINING, "duration", "network", seconds, "s"),
        ]
        event = Trained(
            history,
            rows,
            _list_backends(cell, network),
            training_versions(cell),
            store.write_tensors(store.weights_path(cell.id), network.state_dict()),
            segments[0].started,
            seconds,
            _describe_sources(cell, parts),
            join_digests(parts),
            provenance(),
            segments if len(segments) > 1 else [],
        )
        send(event)
    return network


def _take_given(planned: PlannedCell, data: Splits, parts: dict[str, str], store: Store, send: SendEvent) -> nn.Module:
    """Loads weights that were trained elsewhere into the network of a cell, and sends `Trained`, without epochs and times.

    Raises:
        TrainingFailed: the file has changed since the cell was planned, or its place is not known.
    """
    cell, file = planned.cell, planned.weights
    if file is None or digest_file(WEIGHTS, Path(file.path))[: len(cell.weights)] != cell.weights:
        raise TrainingFailed(f"the weights {cell.weights} are not, or no longer, in the file {file and file.path}")
    _seed_generators(cell.seed)
    network = build_network(cell)
    network.load_state_dict(read_state(file.path, network))
    check_contract(cell, network, data)
    event = Trained(
        [],
        [Row(TRAINING, "parameters", "network", count_parameters(network), "parameters")],
        _list_backends(cell, network),
        {kind: version for kind, version in training_versions(cell).items() if kind != TRAINING},
        store.write_tensors(store.weights_path(cell.id), network.state_dict()),
        datetime.now(UTC).isoformat(timespec="seconds"),
        None,
        {**_describe_sources(cell, parts), WEIGHTS: {Path(file.path).name: file.sha256}},
        join_digests(parts),
        provenance(),
    )
    send(event)
    return network


def _describe_sources(cell: Cell, parts: dict[str, str]) -> dict[str, dict[str, str]]:
    """Returns the sources of a record: the digests of a user's own parts by module, and those of the data."""
    return {**Parts.from_cell(cell).digest_modules(), DATA: parts, **_describe_images(cell)}


def _list_backends(cell: Cell, network: nn.Module) -> list[str]:
    """Returns the implementations of the vote pass that the routings of a network use."""
    return sorted({module.resolve_backend(cell.device) for module in network.modules() if isinstance(module, Routing)})


def _describe_images(cell: Cell) -> dict[str, dict[str, str]]:
    """Returns the shape and the classes of a user's own images, under their key in the sources of a record."""
    facts = dataset_of(cell).facts
    return {IMAGES: dict(facts)} if facts else {}


def _seed_generators(seed: int) -> None:
    """Seeds the generators of this process, also those of Python and NumPy, from which a user's own parts may draw."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def _load_network(record: Record, store: Store) -> nn.Module:
    network = build_network(record.cell)
    network.load_state_dict(store.read_weights(record))
    return network


def prepare_process(planned: PlannedCell, data_folder: Path) -> tuple[Splits, dict[str, str]]:
    """Configures this process for a cell, and loads its data.

    Returns:
        The data, and the digests of its parts (`digest_parts`).

    Raises:
        TrainingFailed: the source of a user's own component, or the data of an own data set, differs from the cell's digest.
    """
    cell = planned.cell
    configure_process(cell)
    data = load_splits(cell.dataset, data_folder, options=cell.component_options("dataset"))
    parts = digest_parts(data)
    if cell.code.get(DATA) not in (None, join_digests(parts)):
        other = ", ".join(changed_parts(planned.data, parts)) if planned.data else "images or labels"
        raise TrainingFailed(f"{cell.dataset} has changed since the cell was planned or trained: {other}")
    return prepare_data(cell, data), parts


def configure_process(cell: Cell) -> None:
    """Configures this process so that a cell's numbers depend only on the cell.

    Raises:
        TrainingFailed: the source of a user's own component differs from the cell's digest.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # required by torch's deterministic mode
    torch.set_num_threads(cell.threads)
    if cell.compile == "none":
        torch.set_deterministic_debug_mode(
            "error"
        )  # the same without the import of torch's compiler, which has a mode too
    else:
        torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # the cell says float32
    if edited := find_edits(cell, {}):
        raise TrainingFailed(f"the source of {', '.join(edited)} was edited after the run began; run the command again")


def prepare_data(cell: Cell, data: Splits) -> Splits:
    """Returns the images of a cell on its device: all of a data set, with the draw of its training images."""
    data = replace(data, train=draw_few(data.train, cell.train_size, cell.seed, cell.dataset))
    return data.to(cell.device, parameter_dtype(cell))
