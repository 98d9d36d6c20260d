"""Checks the outputs and gradients of a contender against float64, at the shapes that are timed.

The problems of a batch are independent. So the truth is computed for some of them, spread over the batch, while the contender
routes all. The gradients into the others' outputs are 0, and the weights' gradient comes from the chosen problems alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from capsbench_kernels.bench.contenders import OUTPUTS, Outputs, Run, make_route
from capsbench_kernels.bench.layers import Case, Inputs

CHECKED = 32
"""Number of problems that the truth is computed for."""

SMALL = {"float32": 1e-5, "bfloat16": 1.6e-2, "float16": 2e-3}
"""Relative error that is always allowed.

In float32 it is the difference between two orders of a sum of thousands of votes. In a half-width dtype, in which a contender may
hold its votes, it is 2 units in the last place."""


@dataclass(frozen=True)
class Expected:
    """The truth about some problems of a case.

    Attributes:
        index: the problems checked.
        upstream: gradients of all problems' outputs, 0 but at ``index``.
        truth: name -> float64 values, of the outputs and of the gradients.
        allowed: name -> the largest error allowed, relative to the largest true value.
    """

    index: Tensor
    upstream: Outputs
    truth: dict[str, Tensor]
    allowed: dict[str, float]


@dataclass(frozen=True)
class Verdict:
    """The largest relative error, if it is a number, and the complaint, or None."""

    error: float | None
    complaint: str | None


def draw_upstream(case: Case, inputs: Inputs) -> Outputs:
    """Draws random gradients of the outputs, in the place of those of a loss."""
    generator = torch.Generator().manual_seed(2)
    layer, sums = case.layer, torch.float32
    shapes = [(case.problems, layer.parents, layer.rows, layer.columns), (case.problems, layer.parents)]
    count = 1 if layer.routing == "dynamic" else 2
    return tuple(torch.randn(s, generator=generator, dtype=sums).to(inputs.poses.device) for s in shapes[:count])


def training_step(run: Run, leaves: Inputs, upstream: Outputs) -> tuple[Outputs, Outputs]:
    """Returns the outputs, and the gradients of `Inputs.trained_tensors`; ``leaves`` require grad."""
    outputs = run(leaves)
    return outputs, torch.autograd.grad(outputs, list(leaves.trained_tensors().values()), upstream)


def compute_expected(case: Case, inputs: Inputs) -> Expected:
    """Returns the truth, by the reference in float64, and the errors allowed.

    A contender may be off by twice the error of the reference in the case's own dtype, plus `SMALL`.
    """
    reference = make_route("reference")
    index = torch.linspace(0, case.problems - 1, min(CHECKED, case.problems)).round().long().to(inputs.poses.device)
    upstream = draw_upstream(case, inputs)
    chosen_upstream = tuple(gradient[index] for gradient in upstream)

    def route_with_gradients(dtype: torch.dtype | None) -> dict[str, Tensor]:
        leaves = inputs.of_problems(index, dtype).requiring_grad()
        directions = chosen_upstream if dtype is None else tuple(gradient.to(dtype) for gradient in chosen_upstream)
        return _name_tensors(*training_step(lambda problems: reference(case, problems), leaves, directions), leaves)

    truth, plain = route_with_gradients(torch.float64), route_with_gradients(None)
    allowed = {name: 2 * _relative_error(plain[name], truth[name]) + SMALL[case.dtype] for name in truth}
    masked = tuple(torch.zeros_like(gradient).index_copy(0, index, gradient[index]) for gradient in upstream)
    return Expected(index, masked, truth, allowed)


def check_forward(run: Run, inputs: Inputs, expected: Expected) -> Verdict:
    """Checks the outputs, computed without a graph."""
    with torch.no_grad():
        outputs = run(inputs)
    return _judge_tensors(_name_tensors(outputs, (), inputs), expected)


def check_both(run: Run, inputs: Inputs, expected: Expected) -> Verdict:
    """Checks the outputs and every gradient."""
    leaves = inputs.requiring_grad()
    return _judge_tensors(_name_tensors(*training_step(run, leaves, expected.upstream), leaves), expected)


def _name_tensors(outputs: Outputs, gradients: Outputs, inputs: Inputs) -> dict[str, Tensor]:
    named = dict(zip(OUTPUTS, outputs, strict=False))
    return named | {f"gradient of {name}": g for name, g in zip(inputs.trained_tensors(), gradients, strict=False)}


def _judge_tensors(tensors: dict[str, Tensor], expected: Expected) -> Verdict:
    worst = 0.0
    for name, tensor in tensors.items():
        truth, allowed = expected.truth[name], expected.allowed[name]
        if not tensor.isfinite().all():
            return Verdict(None, f"{name}: not finite everywhere")
        of_problems = name in OUTPUTS or name in ("gradient of poses", "gradient of activations")
        chosen = tensor[expected.index] if of_problems else tensor
        if chosen.shape != truth.shape:
            return Verdict(None, f"{name}: expected the shape {list(truth.shape)}, got {list(chosen.shape)}")
        error = _relative_error(chosen, truth)
        if error > allowed:
            return Verdict(error, f"{name}: off by {error:.1e} of its largest value, {allowed:.1e} allowed")
        worst = max(worst, error)
    return Verdict(worst, None)


def _relative_error(values: Tensor, truth: Tensor) -> float:
    """Returns the largest difference, relative to the largest true value."""
    scale = truth.abs().amax().clamp_min(torch.finfo(torch.float32).tiny)
    return float(((values.double() - truth).abs().amax() / scale).item())
