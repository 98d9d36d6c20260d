"""The work of one cell, from its fields to its rows, in a process of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor, nn

from capsbench.data.base import load_splits
from capsbench.data.digest import digest_parts, join_digests
from capsbench.data.draws import draw_few
from capsbench.data.images import Splits
from capsbench.errors import FOREIGN, StorageFailed, TrainingFailed
from capsbench.measures.base import MeasureBetween, Subject
from capsbench.measures.build import declaration_of, make_measure, source_of
from capsbench.measures.contract import check_rows
from capsbench.networks.build import build_network, count_parameters, parameter_dtype
from capsbench.planning.edits import find_edits
from capsbench.planning.matrix import PlannedCell
from capsbench.records.cell import DATA, Cell
from capsbench.records.parts import Parts
from capsbench.records.record import TRAINING, Artifact, Record, Row
from capsbench.records.store import Store
from capsbench.records.versions import training_versions
from capsbench.registry import measure_name
from capsbench.routing.base import Routing
from capsbench.running.events import Measured, Measuring, NotMeasured, Trained
from capsbench.running.executors.local import SendEvent, to_sendable
from capsbench.sources import changed_parts
from capsbench.training.contract import check_contract
from capsbench.training.loop import train


def run_cell(
    planned: PlannedCell, measures: list[str], record: Record | None, data_folder: Path, store: Store, send: SendEvent
) -> None:
    """Trains a cell's network from its seed and takes some measures of it; a network on record is only measured.

    Sends each result at once: `Progress` and `Trained`, then for each measure `Measuring`, and `Measured` or `NotMeasured`.
    The next measure is taken although one failed.

    Args:
        measures: the specs of the measures.
        record: the record of the network if it is trained, else None.
        store: holds the weights and kept arrays; the records are written by the process that receives the events.
    """
    data, parts = prepare_process(planned, data_folder)
    digest = join_digests(parts)
    if record is None:
        network = _train_network(planned.cell, data, parts, store, send)
    elif any(make_measure(spec).needs_weights for spec in measures):
        network = _load_network(record, store)
    else:  # the weights may be absent
        network = build_network(planned.cell)
    arrays = _KeptArrays(store, planned.cell, record)
    for spec in measures:
        send(Measuring(spec))
        began = time.monotonic()
        try:
            measure = make_measure(spec)
            torch.manual_seed(planned.cell.seed)
            declaration = declaration_of(spec)
            rows = measure(Subject(planned.cell, network, data, arrays.make_keep(spec), arrays.read))
            rows = check_rows(spec, rows, declaration)
            code = source_of(spec)
            seconds = round(time.monotonic() - began, 3)
            send(Measured(spec, rows, seconds, measure.version, arrays.written.get(spec), code, digest, declaration))
        except (BrokenPipeError, StorageFailed):
            raise
        except FOREIGN as error:
            send(NotMeasured(spec, to_sendable(error)))


def measure_between(
    spec: str,
    planned: PlannedCell,
    source: Record,
    targets: list[Record],
    data_folder: Path,
    store: Store,
    send: SendEvent,
) -> tuple[list[list[Row]], str]:
    """Takes a measure between networks, from one to each of some others, with the weights in the store.

    Returns:
        The rows of each target, and the digest of the data.
    """
    measure = make_measure(spec)
    assert isinstance(measure, MeasureBetween)
    data, parts = prepare_process(planned, data_folder)
    subjects = [
        Subject(
            record.cell,
            _load_network(record, store),
            data,
            lambda tensors: None,
            _KeptArrays(store, record.cell, record).read,
        )
        for record in (source, *targets)
    ]
    torch.manual_seed(0)
    declaration = declaration_of(spec)
    rows_by_target = measure.between(subjects[0], subjects[1:])
    return [check_rows(spec, rows, declaration, source.cell.id) for rows in rows_by_target], join_digests(parts)


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


def _train_network(cell: Cell, data: Splits, parts: dict[str, str], store: Store, send: SendEvent) -> nn.Module:
    started, began = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    torch.manual_seed(cell.seed)
    network = build_network(cell)
    check_contract(cell, network, data)
    history = train(cell, network, data, send)
    # Again, since training may move an activation out of [0, 1] that was near 0 before.
    check_contract(cell, network, data)
    seconds = round(time.monotonic() - began, 3)
    weights = store.write_tensors(store.weights_path(cell.id), network.state_dict())
    backends = {module.resolve_backend(cell.device) for module in network.modules() if isinstance(module, Routing)}
    rows = [
        Row(TRAINING, "parameters", "network", count_parameters(network), "parameters"),
        Row(TRAINING, "epochs", "network", len(history), "epochs"),
        Row(TRAINING, "duration", "network", seconds, "s"),
    ]
    sources = {**Parts.from_cell(cell).digest_modules(), DATA: parts}
    versions, digest = training_versions(cell), join_digests(parts)
    send(Trained(history, rows, sorted(backends), versions, weights, started, seconds, sources, digest))
    return network


def _load_network(record: Record, store: Store) -> nn.Module:
    network = build_network(record.cell)
    network.load_state_dict(store.read_weights(record))
    return network


def prepare_process(planned: PlannedCell, data_folder: Path) -> tuple[Splits, dict[str, str]]:
    """Configures this process so that a cell's numbers depend only on the cell, and loads its data.

    Returns:
        The data, and the digests of its parts (`digest_parts`).

    Raises:
        TrainingFailed: the source of a user's own component, or the data of an own data set, differs from the cell's digest.
    """
    cell = planned.cell
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # required by torch's deterministic mode
    torch.set_num_threads(cell.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # the cell says float32
    if ":" in planned.device:
        torch.cuda.set_device(planned.device)  # the number of the GPU is no part of the cell
    if edited := find_edits(cell, {}):
        raise TrainingFailed(f"the source of {', '.join(edited)} was edited after the run began; run the command again")
    data = load_splits(cell.dataset, data_folder)
    parts = digest_parts(data)
    if cell.code.get(DATA) not in (None, join_digests(parts)):
        other = ", ".join(changed_parts(planned.data, parts)) if planned.data else "images or labels"
        raise TrainingFailed(f"{cell.dataset} has changed since the cell was planned or trained: {other}")
    data = replace(data, train=draw_few(data.train, cell.train_size, cell.seed, cell.dataset))
    return data.to(cell.device, parameter_dtype(cell)), parts
