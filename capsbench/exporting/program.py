"""A trained network as a program of torch's own operations, with a batch of any size."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from capsbench.errors import FOREIGN, ExportFailed, Kind, UsageError, message_of
from capsbench.networks.build import build_network
from capsbench.predicting.load import to_cpu
from capsbench.predicting.trained import RECONSTRUCTIONS, SCORES, TrainedNetwork
from capsbench.training.evaluate import THRESHOLD
from capsbench_kernels import decomposition_table

INPUT = "images"
"""The name of a program's input."""

BATCH = "batch"
"""The name of the number of images, which is free."""

BATCHES = (1, 5)
"""The sizes of the batches that a program is checked with."""

TOLERANCE = 1e-4
"""The largest difference of an output from the network's, relative to the largest value of the output in the batch.

A program sums in another order than the kernels."""

SEED = 0
"""The seed of the images that a program is checked with."""

Run = Callable[[Tensor], Mapping[str, Tensor]]
"""Prepared images ``[N, C, H, W]`` -> outputs by name."""


class Checked(NamedTuple):
    """The result of a check: the largest difference of an output, and the sizes of the batches of random images."""

    difference: float
    batches: tuple[int, ...] = BATCHES


class _Outputs(nn.Module):
    """A network whose outputs are a tensor, or a tuple in the order of `TrainedNetwork.compute_outputs`."""

    def __init__(self, trained: TrainedNetwork) -> None:
        super().__init__()
        self.trained = trained

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs = tuple(self.trained.compute_outputs(images).values())
        return outputs[0] if len(outputs) == 1 else outputs


def copy_for_export(trained: TrainedNetwork, precisions: Sequence[str] = ("float32", "float64")) -> TrainedNetwork:
    """Returns the network on the CPU, without gradients; in float32, unless its own precision is one of ``precisions``."""
    cell = to_cpu(trained.cell)
    if cell.precision not in precisions:
        cell = cell.model_copy(update={"precision": "float32"})
    network = build_network(cell, dataset=trained.dataset)
    network.load_state_dict(deepcopy(trained.network).cpu().state_dict())
    return TrainedNetwork(cell, trained.title, network.requires_grad_(False), trained.dataset)


def draw_images(trained: TrainedNetwork, count: int) -> Tensor:
    """Draws random images ``[count, C, H, W]`` in the range of prepared ones."""
    draw = torch.randn if trained.dataset.standardised else torch.rand
    return draw(count, *trained.image, generator=torch.Generator().manual_seed(SEED)).to(trained.dtype)


def export_program(trained: TrainedNetwork) -> torch.export.ExportedProgram:
    """Exports a network, as `copy_for_export` returns it, as a program that needs nothing but torch.

    Raises:
        UsageError: torch cannot trace the network, or it calls operators of another package.
    """
    batch = torch.export.Dim(BATCH, min=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, on its plans and on its internals
            program = torch.export.export(
                _Outputs(trained), (draw_images(trained, 2),), dynamic_shapes={INPUT: {0: batch}}
            ).run_decompositions({**torch.export.default_decompositions(), **decomposition_table()})
    except FOREIGN as error:  # a user's own network may do anything
        problem = f"torch.export cannot trace it: {message_of(error, first_line=True)}"
        raise UsageError(Kind.CONFLICT, problem, flag="CELL", value=f"{trained.cell.id}, {trained.title}") from error
    foreign = sorted({name for name in map(_namespace_of, program.graph.nodes) if name not in ("", "aten", "prims")})
    if foreign:
        problem = f"it calls operators of {', '.join(foreign)}, which a program cannot take along"
        raise UsageError(Kind.CONFLICT, problem, flag="CELL", value=f"{trained.cell.id}, {trained.title}")
    _drop_assertions(program)
    return program


def _drop_assertions(program: torch.export.ExportedProgram) -> None:
    """Removes assertions on numbers that torch adds where two branches meet.

    It takes it for granted that a size which it cannot prove equal in both is 2 or more. A batch of one image has a size of 1;
    `check_program` runs one.
    """
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.find_nodes(op="call_function", target=torch.ops.aten._assert_scalar.default):
                module.graph.erase_node(node)
            module.graph.eliminate_dead_code()
            module.recompile()


def _namespace_of(node: torch.fx.Node) -> str:
    """Returns the namespace of the operator that a node calls; empty if it calls none."""
    return node.target.namespace if isinstance(node.target, torch._ops.OpOverload) else ""


def run_module(trained: TrainedNetwork, module: Callable[[Tensor], Tensor | tuple[Tensor, ...]]) -> Run:
    """Returns a function that names the outputs of a program."""
    names = list(output_names(trained))

    def run(images: Tensor) -> dict[str, Tensor]:
        outputs = module(images)
        return dict(zip(names, outputs if isinstance(outputs, tuple | list) else (outputs,), strict=True))

    return run


@torch.no_grad()
def output_names(trained: TrainedNetwork) -> list[str]:
    """Returns the names of the outputs of a network."""
    return list(trained.compute_outputs(draw_images(trained, 1).to(trained.device)))


@torch.no_grad()
def check_program(trained: TrainedNetwork, run: Run) -> Checked:
    """Compares a program with the network on batches of random images.

    A reconstruction is compared where both predict the same class, or the same classes of any number.

    Args:
        trained: as `copy_for_export` returns it.

    Raises:
        ExportFailed: an output differs by more than `TOLERANCE`.
    """
    largest = 0.0
    for size in BATCHES:
        images = draw_images(trained, size)
        expected, actual = trained.compute_outputs(images), run(images)
        for name, output in expected.items():
            other = actual[name]
            if other.shape != output.shape:
                raise ExportFailed(
                    f"{name}: {list(other.shape)} in the place of {list(output.shape)}; nothing was written"
                )
            if name == RECONSTRUCTIONS:
                chosen = [_choose_decoded(trained, outputs[SCORES]) for outputs in (expected, actual)]
                same = (chosen[0] == chosen[1]).all(dim=1)
                output, other = output[same], other[same]
            largest = max(largest, _compare_outputs(name, output, other))
    return Checked(largest)


def _choose_decoded(trained: TrainedNetwork, scores: Tensor) -> Tensor:
    """Returns what tells the classes that are decoded first ``[N, 1]``, or together ``[N, classes]``."""
    return scores > THRESHOLD if trained.has_any_number else scores.argmax(dim=1, keepdim=True)


def _compare_outputs(name: str, expected: Tensor, actual: Tensor) -> float:
    """Returns the largest difference, relative to the largest value; raises ExportFailed if it is too large."""
    if not expected.numel():
        return 0.0
    difference = float(
        (expected - actual).abs().max() / expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    )
    if not difference <= TOLERANCE:  # also true of nan
        raise ExportFailed(
            f"{name} of the program differ from the network's by {difference:.2g}, more than {TOLERANCE:g}; nothing was written"
        )
    return difference
