"""One cell from its fields to its rows: the functions that run in a process of their own."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from capsbench import registry
from capsbench.data.base import load_splits
from capsbench.data.images import Splits
from capsbench.errors import StorageFailed, TrainingFailed
from capsbench.measures.base import MeasureBetween, Subject
from capsbench.measures.build import make_measure, measure_name
from capsbench.networks.build import build_network, parameter_dtype
from capsbench.planning.options import source_digests
from capsbench.records.cell import Cell
from capsbench.records.record import Row
from capsbench.records.store import Store
from capsbench.routing.base import Routing
from capsbench.running.events import Measured, Measuring, NotMeasured, Trained
from capsbench.running.executors.local import SendEvent, to_be_told
from capsbench.training.loop import train


def run_cell(cell: Cell, measures: list[str], trained: bool, data_folder: Path, store: Store, send: SendEvent) -> None:
    """Trains the cell's network from its seed and takes the given measures; a ``trained`` one is only measured.

    Sends what it has as soon as it has it: Progress and Trained, then of each measure Measuring, and Measured or NotMeasured.
    A measure that fails does not keep the next from being taken.
    """
    data = prepare(cell, data_folder)
    network = _load(cell, store) if trained else _train(cell, data, store, send)
    for spec in measures:
        send(Measuring(spec))
        began = time.monotonic()
        try:
            rows = _measured(cell, spec, network, data, store)
            send(Measured(spec, rows, round(time.monotonic() - began, 3)))
        except (BrokenPipeError, StorageFailed):
            raise
        except Exception as error:
            send(NotMeasured(spec, to_be_told(error)))


def measure_between(
    spec: str, source: Cell, targets: list[Cell], data_folder: Path, store: Store, send: SendEvent
) -> list[list[Row]]:
    """The rows of a measure between networks, from one to each of some others, taken of the weights in the store."""
    measure = make_measure(spec)
    assert isinstance(measure, MeasureBetween)
    data = prepare(source, data_folder)
    subjects = [
        Subject(cell, _load(cell, store), data, keep=lambda tensors: None, kept=partial(_kept, store, cell.id))
        for cell in (source, *targets)
    ]
    torch.manual_seed(0)
    return [_checked(spec, rows) for rows in measure.between(subjects[0], subjects[1:])]


def _train(cell: Cell, data: Splits, store: Store, send: SendEvent) -> nn.Module:
    started, began = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    torch.manual_seed(cell.seed)
    network = build_network(cell)
    history = train(cell, network, data, send)
    seconds = round(time.monotonic() - began, 3)
    store.write_tensors(store.weights_path(cell.id), network.state_dict())
    store.forget_measured(cell.id)
    backends = {module.backend_on(cell.device) for module in network.modules() if isinstance(module, Routing)}
    parameters = sum(parameter.numel() for parameter in network.parameters())
    rows = [
        Row("training", "parameters", "network", parameters, "parameters"),
        Row("training", "epochs", "network", len(history), "epochs"),
        Row("training", "duration", "network", seconds, "s"),
    ]
    send(Trained(history, rows, sorted(backends), started, seconds))
    return network


def _load(cell: Cell, store: Store) -> nn.Module:
    network = build_network(cell)
    network.load_state_dict(load_file(store.weights_path(cell.id), device=cell.device))
    return network


def _measured(cell: Cell, spec: str, network: nn.Module, data: Splits, store: Store) -> list[Row]:
    keep = partial(_keep, store, store.kept_path(measure_name(spec), cell.id))
    torch.manual_seed(cell.seed)
    return _checked(spec, make_measure(spec)(Subject(cell, network, data, keep, kept=partial(_kept, store, cell.id))))


def _keep(store: Store, path: Path, tensors: Mapping[str, Tensor]) -> None:
    # NumPy, with which reports read them, has no bfloat16; float32 has all its numbers.
    floats = {name: each.float() if each.dtype is torch.bfloat16 else each for name, each in tensors.items()}
    store.write_tensors(path, floats)


def _kept(store: Store, cell_id: str, measure: str) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values) for name, values in store.kept(measure, cell_id).items()}


def _checked(spec: str, rows: list[Row]) -> list[Row]:
    taken = {"training", *registry.BUILT_IN["measure"]} - {measure_name(spec)}
    for row in rows:
        if row.measure in taken:
            raise TrainingFailed(f"gave a row of the name {row.measure!r}, which is another measure's")
        if not math.isfinite(row.value):
            raise TrainingFailed(f"gave {row.value} as {row.metric} ({row.condition})")
    return rows


def prepare(cell: Cell, data_folder: Path) -> Splits:
    """Sets this process up so that a cell's numbers depend on nothing but the cell, and loads its data."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # what torch's deterministic mode asks of cuBLAS
    torch.set_num_threads(cell.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # float32 is what the cell says
    if source_digests(cell.model_dump()) != cell.code:
        raise TrainingFailed("a source file of the cell was edited after the run began; run it again")
    data = load_splits(cell.dataset, data_folder, cell.train_size, cell.seed)
    return data.to(cell.device, parameter_dtype(cell))
