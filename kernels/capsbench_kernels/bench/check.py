"""Whether a contender routes right: its outputs and gradients, at the shapes that are timed, against float64.

The problems of a batch are independent, so that the truth of some of them, spread over the batch, tells on a contender that
routes all: the gradients that flow into the others' outputs are 0, and what reaches the weights is of the chosen ones alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from capsbench_kernels.bench.contenders import OUTPUTS, Outputs, Run, by_backend
from capsbench_kernels.bench.layers import Case, Inputs

CHECKED = 32
"""How many problems the truth is computed of."""

SMALL = {"float32": 1e-5, "bfloat16": 1.6e-2, "float16": 2e-3}
"""Relative error that is allowed anyway: what float32 sums of thousands of votes differ by from one order to another, and
2 units in the last place of a half-width dtype, in which a contender may hold its votes."""


@dataclass(frozen=True)
class Expected:
    """The truth about some problems of a case.

    Attributes:
        index: the problems looked at.
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
    """The largest relative error that was found, where it is a number, and what is wrong, or None."""

    error: float | None
    complaint: str | None


def random_upstream(case: Case, inputs: Inputs) -> Outputs:
    """Random gradients of the outputs, as a loss would send them."""
    generator = torch.Generator().manual_seed(2)
    layer, sums = case.layer, torch.float32
    shapes = [(case.problems, layer.parents, layer.rows, layer.columns), (case.problems, layer.parents)]
    count = 1 if layer.routing == "dynamic" else 2
    return tuple(torch.randn(s, generator=generator, dtype=sums).to(inputs.poses.device) for s in shapes[:count])


def training_step(run: Run, leaves: Inputs, upstream: Outputs) -> tuple[Outputs, Outputs]:
    """Outputs, and the gradients of `Inputs.trained`; ``leaves`` require grad."""
    outputs = run(leaves)
    return outputs, torch.autograd.grad(outputs, list(leaves.trained().values()), upstream)


def expected(case: Case, inputs: Inputs) -> Expected:
    """The truth, by the reference in float64, and what its error in the case's own dtype allows a contender.

    A contender may be off by twice the error of the reference in the same dtype, and by `SMALL`.
    """
    reference = by_backend("reference")
    index = torch.linspace(0, case.problems - 1, min(CHECKED, case.problems)).round().long().to(inputs.poses.device)
    upstream = random_upstream(case, inputs)
    shown = tuple(gradient[index] for gradient in upstream)

    def routed(dtype: torch.dtype | None) -> dict[str, Tensor]:
        leaves = inputs.of_problems(index, dtype).requiring_grad()
        directions = shown if dtype is None else tuple(gradient.to(dtype) for gradient in shown)
        return _named(*training_step(lambda some: reference(case, some), leaves, directions), leaves)

    truth, plain = routed(torch.float64), routed(None)
    allowed = {name: 2 * _error(plain[name], truth[name]) + SMALL[case.dtype] for name in truth}
    masked = tuple(torch.zeros_like(gradient).index_copy(0, index, gradient[index]) for gradient in upstream)
    return Expected(index, masked, truth, allowed)


def check_forward(run: Run, inputs: Inputs, expected: Expected) -> Verdict:
    """Of the outputs, without a graph."""
    with torch.no_grad():
        outputs = run(inputs)
    return _judge(_named(outputs, (), inputs), expected)


def check_both(run: Run, inputs: Inputs, expected: Expected) -> Verdict:
    """Of the outputs and of every gradient."""
    leaves = inputs.requiring_grad()
    return _judge(_named(*training_step(run, leaves, expected.upstream), leaves), expected)


def _named(outputs: Outputs, gradients: Outputs, inputs: Inputs) -> dict[str, Tensor]:
    named = dict(zip(OUTPUTS, outputs, strict=False))
    return named | {f"gradient of {name}": g for name, g in zip(inputs.trained(), gradients, strict=False)}


def _judge(found: dict[str, Tensor], expected: Expected) -> Verdict:
    worst = 0.0
    for name, tensor in found.items():
        truth, allowed = expected.truth[name], expected.allowed[name]
        if not tensor.isfinite().all():
            return Verdict(None, f"{name}: not finite everywhere")
        of_problems = name in OUTPUTS or name in ("gradient of poses", "gradient of activations")
        chosen = tensor[expected.index] if of_problems else tensor
        if chosen.shape != truth.shape:
            return Verdict(None, f"{name}: expected the shape {list(truth.shape)}, got {list(chosen.shape)}")
        error = _error(chosen, truth)
        if error > allowed:
            return Verdict(error, f"{name}: off by {error:.1e} of its largest value, {allowed:.1e} allowed")
        worst = max(worst, error)
    return Verdict(worst, None)


def _error(found: Tensor, truth: Tensor) -> float:
    """The largest difference, relative to the largest true value."""
    scale = truth.abs().amax().clamp_min(torch.finfo(torch.float32).tiny)
    return float(((found.double() - truth).abs().amax() / scale).item())
