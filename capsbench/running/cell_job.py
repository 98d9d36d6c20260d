"""One cell from its fields to its rows: the functions that run in a process of their own."""

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
from capsbench.data.draws import few
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
from capsbench.running.executors.local import SendEvent, to_be_told
from capsbench.sources import changed_parts
from capsbench.training.contract import check_contract
from capsbench.training.loop import train


def run_cell(
    planned: PlannedCell, measures: list[str], record: Record | None, data_folder: Path, store: Store, send: SendEvent
) -> None:
    """Trains the cell's network from its seed and takes the given measures; a network on record is only measured.

    Sends what it has as soon as it has it: Progress and Trained, then of each measure Measuring, and Measured or NotMeasured.
    A measure that fails does not keep the next from being taken.
    """
    data, parts = prepare(planned, data_folder)
    digest = join_digests(parts)
    if record is None:
        network = _train(planned.cell, data, parts, store, send)
    elif any(make_measure(spec).needs_weights for spec in measures):
        network = _load(record, store)
    else:  # the weights need not be here
        network = build_network(planned.cell)
    kept = _Kept(store, planned.cell, record)
    for spec in measures:
        send(Measuring(spec))
        began = time.monotonic()
        try:
            measure = make_measure(spec)
            torch.manual_seed(planned.cell.seed)
            declaration = declaration_of(spec)
            rows = measure(Subject(planned.cell, network, data, kept.keep_of(spec), kept.read))
            rows = check_rows(spec, rows, declaration)
            code = source_of(spec)
            seconds = round(time.monotonic() - began, 3)
            send(Measured(spec, rows, seconds, measure.version, kept.written.get(spec), code, digest, declaration))
        except (BrokenPipeError, StorageFailed):
            raise
        except FOREIGN as error:
            send(NotMeasured(spec, to_be_told(error)))


def measure_between(
    spec: str,
    planned: PlannedCell,
    source: Record,
    targets: list[Record],
    data_folder: Path,
    store: Store,
    send: SendEvent,
) -> list[list[Row]]:
    """The rows of a measure between networks, from one to each of some others, taken of the weights in the store."""
    measure = make_measure(spec)
    assert isinstance(measure, MeasureBetween)
    data, _ = prepare(planned, data_folder)
    subjects = [
        Subject(record.cell, _load(record, store), data, lambda tensors: None, _Kept(store, record.cell, record).read)
        for record in (source, *targets)
    ]
    torch.manual_seed(0)
    return [check_rows(spec, rows, declaration_of(spec)) for rows in measure.between(subjects[0], subjects[1:])]


class _Kept:
    """What measures keep of a cell: what is on record, and what was written since."""

    def __init__(self, store: Store, cell: Cell, record: Record | None) -> None:
        self.store, self.cell, self.record = store, cell, record
        self.written: dict[str, Artifact] = {}

    def keep_of(self, spec: str) -> Callable[[Mapping[str, Tensor]], None]:
        """What a measure calls to keep tensors."""

        def keep(tensors: Mapping[str, Tensor]) -> None:
            # NumPy, with which reports read them, has no bfloat16; float32 has all its numbers.
            floats = {name: each.float() if each.dtype is torch.bfloat16 else each for name, each in tensors.items()}
            self.written[spec] = self.store.write_tensors(self.store.kept_path(spec, self.cell.id), floats)

        return keep

    def read(self, measure: str) -> dict[str, Tensor]:
        """What a measure kept, by its spec, else by its name in whichever setting was taken first."""
        named = (artifact for spec, artifact in self.written.items() if measure in (spec, measure_name(spec)))
        artifact = next(named, None)
        if artifact is not None:
            arrays = self.store.read_artifact(artifact)
        else:
            arrays = {} if self.record is None else self.store.kept(self.record, measure)
        return {name: torch.from_numpy(values) for name, values in arrays.items()}


def _train(cell: Cell, data: Splits, parts: dict[str, str], store: Store, send: SendEvent) -> nn.Module:
    started, began = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    torch.manual_seed(cell.seed)
    network = build_network(cell)
    check_contract(cell, network, data)
    history = train(cell, network, data, send)
    check_contract(
        cell, network, data
    )  # once more: an activation that is near 0 before training may leave [0, 1] by it
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


def _load(record: Record, store: Store) -> nn.Module:
    network = build_network(record.cell)
    network.load_state_dict(store.read_weights(record))
    return network


def prepare(planned: PlannedCell, data_folder: Path) -> tuple[Splits, dict[str, str]]:
    """Sets this process up so that a cell's numbers depend on nothing but the cell, and loads its data.

    Returns:
        The data, and digests of all that was loaded (`digest_parts`).

    Raises:
        TrainingFailed: the source of a user's own, or what an own data set gives, is not what the cell names.
    """
    cell = planned.cell
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # what torch's deterministic mode asks of cuBLAS
    torch.set_num_threads(cell.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # float32 is what the cell says
    if ":" in planned.device:
        torch.cuda.set_device(planned.device)  # which GPU it is makes no other cell
    if edited := find_edits(cell, {}):
        raise TrainingFailed(f"the source of {', '.join(edited)} was edited after the run began; run it again")
    data = load_splits(cell.dataset, data_folder)
    parts = digest_parts(data)
    if cell.code.get(DATA) not in (None, join_digests(parts)):
        other = ", ".join(changed_parts(planned.data, parts)) if planned.data else "images or labels"
        raise TrainingFailed(f"{cell.dataset} gave other data than the cell was planned or trained with: {other}")
    data = replace(data, train=few(data.train, cell.train_size, cell.seed, cell.dataset))
    return data.to(cell.device, parameter_dtype(cell)), parts
