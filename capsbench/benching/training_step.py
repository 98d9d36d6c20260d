"""Times of whole training steps: networks with this package's routing, and the same networks with the usual implementation.

The usual implementation holds every vote in memory and takes each step of the routing on all of them. It gets the same weights
and the same batch. Only contenders with the same gradients are timed, each in processes of its own: a fused pass changes how all
threads of its process wait and which memory it keeps, from which the others would gain. Beside them stands a network without
a routing, which bounds what a faster routing can reach.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from capsbench.data.images import Batch
from capsbench.errors import Kind, UsageError
from capsbench.networks.build import build_network, parameter_count
from capsbench.planning.matrix import cells_of
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.registry import BUILT_IN
from capsbench.routing import DynamicRouting, EMRouting, Routing
from capsbench.routing.windows import Windows
from capsbench.training.step import TrainingStep
from capsbench_kernels.bench import BASELINE
from capsbench_kernels.bench.contenders import usual_dynamic, usual_em, usual_votes
from capsbench_kernels.bench.measure import peak_memory, set_threads
from capsbench_kernels.bench.processes import print_times, time_programs, use_core
from capsbench_kernels.passes.cpu.memory import keep_freed_memory
from capsbench_kernels.passes.cpu.waiting import limit_spinning
from capsbench_kernels.routings.squash import squash

COLUMNS = (
    *("network", "routing", "iterations", "size", "parameters", "batch", "image", "contender", "backend", "status"),
    *("error", "median_s", "p20_s", "p80_s", "n", "times_as_fast", "peak_bytes", "load", "device", "threads", "torch"),
)
"""The columns of a row. ``load`` is ``idle``, or ``busy`` beside a process that uses a core. ``error`` is the largest deviation
of a gradient from that of the usual implementation, relative to the norm of the gradient; empty without a routing.
``times_as_fast`` is the median of the usual implementation divided by that of the row."""

NO_ROUTING = "none"
"""The contender whose routing takes next to no time, and so computes something else."""

LARGEST_ERROR = 0.01
"""Limit of the relative error of a gradient in float32, which sums in another order change."""

Row = dict[str, Any]


class UsualDynamicRouting(DynamicRouting):
    """Dynamic routing with all votes and logits in memory."""

    def forward(
        self, poses: Tensor, weights: Tensor, activations: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        outputs = usual_dynamic(usual_votes(poses, weights, offset), self.iterations)
        return outputs.unflatten(2, (poses.shape[2], weights.shape[3])), torch.linalg.vector_norm(outputs, dim=2)


class EinsumDynamicRouting(DynamicRouting):
    """Dynamic routing with all votes in memory, where votes, sums and agreements are products by `torch.einsum`.

    This is the layout of the public repository readable_capsnet, without the update of the logits after the last iteration,
    which has no effect.
    """

    def forward(
        self, poses: Tensor, weights: Tensor, activations: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        votes = torch.einsum("nird,ijde->nijre", poses, weights)
        if offset is not None:
            votes = votes + offset.unsqueeze(2)
        votes = votes.flatten(3)
        logits, outputs = votes.new_zeros(votes.shape[:3]), votes.new_empty(0)
        for iteration in range(self.iterations):
            outputs = squash(torch.einsum("nij,nijh->njh", logits.softmax(dim=2), votes))
            if iteration < self.iterations - 1:
                logits = logits + torch.einsum("nijh,njh->nij", votes, outputs)
        return outputs.unflatten(2, (poses.shape[2], weights.shape[3])), torch.linalg.vector_norm(outputs, dim=2)


class UsualEMRouting(EMRouting):
    """EM routing with all votes and responsibilities in memory."""

    def forward(
        self,
        poses: Tensor,
        weights: Tensor,
        activations: Tensor,
        offset: Tensor | None = None,
        windows: Windows | None = None,
    ) -> tuple[Tensor, Tensor]:
        mean, parents = usual_em(
            usual_votes(poses, weights, offset),
            activations,
            self.beta_a,
            self.beta_u,
            self.inverse_temperature,
            mass_scale=self.mass_scale,
            variance_epsilon=self.variance_epsilon,
            annealing=self.annealing,
        )
        return mean.unflatten(2, (poses.shape[2], weights.shape[3])), parents


class NoDynamicRouting(DynamicRouting):
    """The mean child, transformed by the mean matrix: no votes, no iterations, but every input gets a gradient."""

    def forward(
        self, poses: Tensor, weights: Tensor, activations: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        parents = transform_mean_child(poses, weights)
        return parents, torch.linalg.vector_norm(parents.flatten(2), dim=2)


class NoEMRouting(EMRouting):
    """The mean child, transformed by the mean matrix: no votes, no iterations, but all but the betas get a gradient."""

    def forward(
        self,
        poses: Tensor,
        weights: Tensor,
        activations: Tensor,
        offset: Tensor | None = None,
        windows: Windows | None = None,
    ) -> tuple[Tensor, Tensor]:
        parents = transform_mean_child(poses, weights)
        return parents, activations.mean(dim=1, keepdim=True) * torch.sigmoid(parents.sum(dim=(2, 3)))


def transform_mean_child(poses: Tensor, weights: Tensor) -> Tensor:
    """Transforms the mean of child poses ``[N, I, R, D]`` by the mean of the matrices ``[I, J, D, E]`` of each parent.

    Returns:
        Parent poses ``[N, J, R, E]``.
    """
    return torch.einsum("nrd,jde->njre", poses.mean(dim=1), weights.mean(dim=0))


USUAL: dict[type[Routing], type[Routing]] = {DynamicRouting: UsualDynamicRouting, EMRouting: UsualEMRouting}
"""Routing -> its usual implementation, with the votes in memory, at the options of the papers."""

PEERS: dict[str, dict[type[Routing], type[Routing]]] = {
    BASELINE: USUAL,
    "einsum": {DynamicRouting: EinsumDynamicRouting},
}
"""Contender -> routing -> an implementation of it as public repositories have it."""

REPLACEMENTS = PEERS | {NO_ROUTING: {DynamicRouting: NoDynamicRouting, EMRouting: NoEMRouting}}
"""Contender -> routing -> what takes its place."""


def to_usual(network: nn.Module, implementations: Mapping[type[Routing], type[Routing]] = USUAL) -> nn.Module:
    """Returns a copy of a network with other implementations of its routings; raises KeyError for one without."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, Routing):
            module.__class__ = implementations[type(module)]
    return network


def cells_to_bench(
    cases: Sequence[str], *, batch: int, iterations: int, dataset: str, threads: int, device: str
) -> list[Cell]:
    """Returns the cells of ``ROUTING:SIZE`` cases, such as ``dynamic:paper``. Raises UsageError for an invalid case."""
    cells = []
    for case in cases:
        routing, _, size = case.partition(":")
        if routing not in list_routings() or not size:
            expected = f"ROUTING:SIZE with a routing of {', '.join(list_routings())}, such as em:small"
            raise UsageError(Kind.INVALID, flag="case", expected=expected, value=case)
        cells += cells_of(
            {
                **{"routing": routing, "size": size, "iters": iterations, "dataset": dataset, "device": device},
                **{"batch": batch, "threads": threads, "seeds": 0, "baseline": "none"},
            }
        )
    return cells


def list_routings() -> list[str]:
    """Returns the names of the routings with a usual implementation."""
    return [
        name for name, path in BUILT_IN["routing"].items() if path.rpartition(":")[2] in {r.__name__ for r in USUAL}
    ]


def bench_steps(
    cells: Sequence[Cell],
    *,
    seconds: float = 2.0,
    rounds: int = 3,
    busy: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Row]:
    """Checks and times whole training steps (forward, loss, backward, optimiser) of capsule networks; images are random.

    Args:
        cells: networks with dynamic or EM routing, at the options of the papers, with weights drawn by their seeds.
        seconds: duration of the timing of each contender, over all rounds.
        rounds: number of processes of each contender, which takes at least three steps in each.
        busy: whether another process uses a core meanwhile.
        say: gets a line on what comes next.

    Yields:
        A row, a dict of `COLUMNS`, for each cell and contender; ``status`` is ``ok`` or ``wrong: ...``.
    """
    for cell in cells:
        with set_threads(cell.threads):
            yield from _bench_cell(cell, seconds, rounds, busy, say)


def _bench_cell(cell: Cell, seconds: float, rounds: int, busy: bool, say: Callable[[str], None]) -> Iterator[Row]:
    device = torch.device(cell.device)
    network, batch = _draw_network_and_batch(cell)
    routings = [module for module in network.modules() if isinstance(module, Routing)]
    kinds = {type(routing) for routing in routings}
    names = [name for name, implementations in PEERS.items() if kinds <= implementations.keys()]
    names += [*sorted({routing.resolve_backend(cell.device) for routing in routings}), NO_ROUTING]
    contenders = {name: _build_contender(network, name) for name in names}

    title = describe_cell(cell)
    say(f"{title}: checking")
    checked = {name: contender for name, contender in contenders.items() if name != NO_ROUTING}
    gradients = {name: _compute_gradients(cell, contender, batch) for name, contender in checked.items()}
    errors = {name: find_largest_error(gradient, gradients[BASELINE]) for name, gradient in gradients.items()}
    runs = {
        name: partial(TrainingStep(cell, contender.train()), batch, 0.5)
        for name, contender in contenders.items()
        if errors.get(name, 0.0) <= LARGEST_ERROR
    }
    peaks = {name: peak_memory(run, device) for name, run in runs.items()}
    torch.cuda.empty_cache()  # what this process keeps, the others could not use
    say(f"{title}: timing")
    programs = {name: describe_program(cell, seconds / rounds, name) for name in runs}
    with use_core() if busy else nullcontext():
        times, failed = time_programs(programs, rounds)
    medians = {name: statistics.median(durations) for name, durations in times.items() if name not in failed}
    for name in contenders:
        row = dict.fromkeys(COLUMNS) | {field: getattr(cell, field) for field in ("network", "routing", "iterations")}
        row |= {"size": cell.size, "parameters": parameter_count(cell), "batch": cell.batch_size}
        row |= {
            "image": str(dataset_of(cell).image),
            "contender": name,
            "backend": None if name in REPLACEMENTS else name,
            "load": "busy" if busy else "idle",
        }
        row |= {"error": errors.get(name), "device": device.type, "threads": cell.threads, "torch": torch.__version__}
        row["status"] = "ok"
        if name not in runs:
            row["status"] = f"wrong: gradients differ by {errors[name]:.1%} from those of the usual implementation"
        elif name in failed:
            row["status"] = failed[name]
        else:
            p20, *_, p80 = statistics.quantiles(times[name], n=5, method="inclusive")
            row |= {"median_s": medians[name], "p20_s": p20, "p80_s": p80, "n": len(times[name])}
            row |= {"peak_bytes": peaks[name]}
            if BASELINE in medians:
                row["times_as_fast"] = medians[BASELINE] / medians[name]
        yield row


def describe_cell(cell: Cell) -> str:
    """Returns the words for a cell in progress and tables."""
    return f"{cell.network} {cell.routing} x{cell.iterations} {cell.size}"


def _draw_network_and_batch(cell: Cell) -> tuple[nn.Module, Batch]:
    device, dataset = torch.device(cell.device), dataset_of(cell)
    torch.manual_seed(cell.seed)
    network = build_network(cell)
    images = torch.rand(cell.batch_size, *dataset.image, device=device)
    return network, Batch(images, torch.arange(cell.batch_size, device=device) % dataset.classes)


def _build_contender(network: nn.Module, name: str) -> nn.Module:
    """Returns a network with what replaces its routing, by the contender's name, or as it is for the name of a backend."""
    return to_usual(network, REPLACEMENTS[name]) if name in REPLACEMENTS else network


def describe_program(cell: Cell, seconds: float, contender: str = "") -> str:
    """Returns the source of a program that times the training step of a cell, for `capsbench_kernels.bench.processes`.

    Args:
        cell: the network with its settings.
        seconds: duration of the timing.
        contender: one of `REPLACEMENTS`, whose routing the network gets; by default its own.
    """
    arguments = (cell.model_dump_json(), contender, seconds)
    return f"from capsbench.benching.training_step import time_step; time_step{arguments!r}"


def time_step(fields: str, contender: str, seconds: float) -> None:
    """Prints the times of a training step, as the program of `describe_program`."""
    cell = Cell.model_validate_json(fields)
    network, batch = _draw_network_and_batch(cell)
    if contender == NO_ROUTING:  # as in a process with a fused pass, whose step it bounds
        keep_freed_memory()
        limit_spinning()
    step = TrainingStep(cell, _build_contender(network, contender).train())
    print_times(partial(step, batch, 0.5), seconds, cell.threads, torch.device(cell.device))


def _compute_gradients(cell: Cell, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Returns the gradient of every parameter in one step. The network is not changed."""
    network = copy.deepcopy(network).train()
    step = TrainingStep(cell, network)
    for group in step.optimizer.param_groups:
        group["lr"] = 0.0
    step(batch, 0.5)
    return {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}


def find_largest_error(gradients: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> float:
    """Returns the largest distance of a parameter's gradient from the true one, relative to the norm of the true one.

    A tiny gradient, such as that of a bias before a batch norm, is noise. So the norm counts as at least 1/1000 of the norm of
    all gradients.
    """
    if gradients.keys() != truth.keys():
        return float("inf")
    least = 1e-3 * torch.stack([gradient.norm() for gradient in truth.values()]).norm()
    distances = [(gradients[name] - truth[name]).norm() / truth[name].norm().clamp_min(least) for name in truth]
    return float(torch.stack(distances).max())
