"""The layers timed: capsule layers of the papers by the shapes of their routing, and random inputs of these shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from capsbench_kernels.passes.types import accumulation_dtype


@dataclass(frozen=True)
class Layer:
    """A capsule layer of a paper.

    Attributes:
        routing: ``dynamic`` (Sabour 2017) or ``em`` (Hinton 2018).
        problems: routing problems an image: 1, or the output positions of a convolutional capsule layer.
        children, parents, rows, depth, columns: I, J, R, D and E of `capsbench_kernels.vote_pass`.
        batch: images a step on a GPU; ``cpu_batch`` on a CPU, where a materialising implementation takes seconds for more.
        coordinates: whether positions are added to the votes (coordinate addition).
    """

    name: str
    source: str
    routing: str
    problems: int
    children: int
    parents: int
    rows: int
    depth: int
    columns: int
    batch: int
    cpu_batch: int
    coordinates: bool = False


_SABOUR = "Sabour, Frosst, Hinton 2017: 6x6 positions of 32 types, 8-D, to 10 classes, 16-D"
_HINTON = "Hinton, Sabour, Frosst 2018, 28x28 images, first convolution padded"


def _matrix_capsules(
    name: str, description: str, *shape: int, batch: int, cpu_batch: int, coordinates: bool = False
) -> Layer:
    """Returns a layer of Hinton 2018, with 4x4 poses; ``shape`` is problems an image, children, parents."""
    problems, children, parents = shape
    source = f"{_HINTON}: {description}"
    return Layer(name, source, "em", problems, children, parents, 4, 4, 4, batch, cpu_batch, coordinates)


LAYERS: dict[str, Layer] = {
    layer.name: layer
    for layer in (
        Layer("sabour-digitcaps", _SABOUR, "dynamic", 1, 1152, 10, 1, 8, 16, batch=128, cpu_batch=32),
        _matrix_capsules(
            *("hinton-convcaps1", "ConvCaps1, B = C = 32, 3x3 stride 2, 6x6 windows an image"),
            *(36, 9 * 32, 32),
            batch=64,
            cpu_batch=4,
        ),
        _matrix_capsules(
            *("hinton-convcaps2", "ConvCaps2, C = D = 32, 3x3 stride 1, 4x4 windows an image"),
            *(16, 9 * 32, 32),
            batch=64,
            cpu_batch=8,
        ),
        _matrix_capsules(
            *("hinton-convcaps1-small", "ConvCaps1 of the small network, A = 64, B = 8, C = D = 16"),
            *(36, 9 * 8, 16),
            batch=64,
            cpu_batch=32,
        ),
        _matrix_capsules(
            *("hinton-class", "class capsules, 4x4 positions of 32 types, 10 classes, coordinate addition"),
            *(1, 16 * 32, 10),
            batch=64,
            cpu_batch=32,
            coordinates=True,
        ),
    )
}

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""Dtypes of the poses, the weights and the offset; sums are always in float32."""


@dataclass(frozen=True)
class Case:
    """A case to time: a layer with a batch, a number of iterations and a dtype."""

    layer: Layer
    batch: int
    iterations: int
    dtype: str

    @property
    def problems(self) -> int:
        """N: the independent routing problems of the batch."""
        return self.batch * self.layer.problems

    @property
    def title(self) -> str:
        layer = self.layer
        shape = f"{layer.children} x {layer.parents}"
        return f"{layer.name}, batch {self.batch}, {shape}, {self.iterations} iterations, {self.dtype}"

    @property
    def inverse_temperatures(self) -> list[float]:
        """EM routing's schedule of the authors, as Gritzman 2019 reports it."""
        return [0.01 * (1 - 0.95 ** (t + 1)) for t in range(self.iterations)]

    @property
    def mass_scale(self) -> float:
        """Gritzman 2019: layers of different fan-in see one temperature."""
        return 100 * self.layer.parents / self.layer.children


def build_cases(
    layers: Sequence[str],
    batches: Sequence[int] | None = None,
    children: Sequence[int] | None = None,
    parents: Sequence[int] | None = None,
    iterations: Sequence[int] = (3,),
    dtypes: Sequence[str] = ("float32",),
    *,
    device: torch.device,
) -> list[Case]:
    """Returns every combination, layer by layer; None stands for a layer's own value."""
    combinations = []
    for name in layers:
        layer = LAYERS[name]
        usual = layer.batch if device.type == "cuda" else layer.cpu_batch
        for batch, i, j, count, dtype in product(
            batches or [usual], children or [layer.children], parents or [layer.parents], iterations, dtypes
        ):
            combinations.append(Case(replace(layer, children=i, parents=j), batch, count, dtype))
    return combinations


class Inputs(NamedTuple):
    """The inputs of a contender. The last four are None in dynamic routing, the offset also without coordinate addition."""

    poses: Tensor  # [N, I, R, D]
    weights: Tensor  # [I, J, D, E]
    activations: Tensor | None  # [N, I]
    beta_a: Tensor | None  # [J]
    beta_u: Tensor | None  # [J]
    offset: Tensor | None  # [1, I, R, E], a constant

    def trained_tensors(self) -> dict[str, Tensor]:
        """Returns the tensors that a training step needs gradients of, by name."""
        return {name: tensor for name, tensor in self._asdict().items() if tensor is not None and name != "offset"}

    def requiring_grad(self) -> Inputs:
        """Returns tensors on the same memory that require gradients, those of `trained_tensors`."""
        return self._replace(
            **{name: tensor.detach().requires_grad_() for name, tensor in self.trained_tensors().items()}
        )

    def of_problems(self, index: Tensor, dtype: torch.dtype | None = None) -> Inputs:
        """Returns the routing problems at ``index``, all tensors in ``dtype`` if one is given."""
        chosen = self._replace(
            poses=self.poses[index], activations=None if self.activations is None else self.activations[index]
        )
        return chosen if dtype is None else Inputs(*(None if t is None else t.to(dtype) for t in chosen))  # type: ignore[arg-type]


def random_inputs(case: Case, device: torch.device) -> Inputs:
    """Draws inputs whose routing is neither uniform nor saturated; the same numbers on every device.

    Dynamic routing gets squashed poses and the authors' W ~ N(0, 0.1^2); EM routing poses and votes of variance 1.
    """
    generator = torch.Generator().manual_seed(0)
    layer, dtype = case.layer, DTYPES[case.dtype]

    def draw_normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    poses = draw_normal(case.problems, layer.children, layer.rows, layer.depth)
    weights = draw_normal(layer.children, layer.parents, layer.depth, layer.columns)
    if layer.routing == "dynamic":
        length = poses.flatten(2).norm(dim=2)[..., None, None]
        return Inputs((poses * length / (1 + length**2)).to(dtype), (0.1 * weights).to(dtype), None, None, None, None)
    sums = accumulation_dtype(dtype)
    return Inputs(
        poses.to(dtype),
        (weights * layer.depth**-0.5).to(dtype),
        draw_normal(case.problems, layer.children).sigmoid().to(sums),
        draw_normal(layer.parents).to(sums),
        draw_normal(layer.parents).to(sums),
        make_coordinates(layer, device).to(dtype) if layer.coordinates else None,
    )


def make_coordinates(layer: Layer, device: torch.device) -> Tensor:
    """Returns the offset of coordinate addition, ``[1, I, R, E]``: two numbers in (0, 1) in the right-hand column of a vote."""
    offset = torch.zeros(1, layer.children, layer.rows, layer.columns)
    offset[0, :, :2, -1] = torch.rand(layer.children, min(2, layer.rows), generator=torch.Generator().manual_seed(1))
    return offset.to(device)
