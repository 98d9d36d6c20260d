"""The contenders: the usual implementation of the papers' equations, and the backends of this package."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from capsbench_kernels.bench.layers import Case, Inputs
from capsbench_kernels.errors import UnavailableBackend
from capsbench_kernels.passes.api import choose_backend
from capsbench_kernels.passes.types import accumulation_dtype
from capsbench_kernels.routings.dynamic import dynamic_routing
from capsbench_kernels.routings.em import em_routing
from capsbench_kernels.routings.squash import squash

Outputs = tuple[Tensor, ...]
"""Parent poses ``[N, J, R, E]`` and, in EM routing, parent activations ``[N, J]``."""

OUTPUTS = ("parent poses", "parent activations")

Route = Callable[[Case, Inputs], Outputs]
Run = Callable[[Inputs], Outputs]

VARIANCE_EPSILON = 4.0
"""Variance epsilon of EM routing, in units of a vote squared; the votes have a variance of 1 (`random_inputs`).

It is large enough that shares do not saturate. With a small one, each iteration multiplies any difference tenfold, and a check
against the truth could not separate a rounding from a defect. No contender's time depends on it.
"""


@dataclass(frozen=True)
class Contender:
    """A way to route.

    Attributes:
        route: routes the inputs of a case.
        backend: the backend of `capsbench_kernels` that ``route`` asks for, if any: it may be unable to run on a device.
        compiled: whether ``route`` goes through torch.compile, once for each case and pass.
    """

    name: str
    route: Route
    backend: str | None = None
    compiled: bool = False

    def find_obstacle(self, device: torch.device) -> str | None:
        """Returns the reason why the contender cannot run on a device, or None."""
        if self.backend is None:
            return None
        try:
            choose_backend(self.backend, device)
        except UnavailableBackend as error:
            return error.reason
        return None

    def prepare_run(self, case: Case) -> Run:
        """Returns the function that routes this case's inputs; a compiled one compiles for their shapes, at its first call."""

        def run_case(inputs: Inputs) -> Outputs:
            return self.route(case, inputs)

        return torch.compile(run_case, dynamic=False) if self.compiled else run_case


def route_usual(case: Case, inputs: Inputs) -> Outputs:
    """Routes as public repositories do: a product of tiny matrices a vote, on tiled weights, and each step on all votes."""
    votes = usual_votes(inputs.poses, inputs.weights, inputs.offset)
    shape = (case.layer.rows, case.layer.columns)
    if case.layer.routing == "dynamic":
        return (usual_dynamic(votes, case.iterations).unflatten(2, shape),)
    assert inputs.activations is not None
    assert inputs.beta_a is not None
    assert inputs.beta_u is not None
    mean, activations = usual_em(
        votes,
        inputs.activations,
        inputs.beta_a,
        inputs.beta_u,
        case.inverse_temperatures[: case.iterations],
        mass_scale=case.mass_scale,
        variance_epsilon=VARIANCE_EPSILON,
    )
    return mean.unflatten(2, shape), activations


def usual_votes(poses: Tensor, weights: Tensor, offset: Tensor | None) -> Tensor:
    """Returns all votes ``[N, I, J, H]``; the product tiles the weights over the problems and the poses over the parents."""
    votes = torch.matmul(poses.unsqueeze(2), weights.unsqueeze(0))
    if offset is not None:
        votes = votes + offset.unsqueeze(2)
    return votes.flatten(3)


def usual_dynamic(votes: Tensor, iterations: int) -> Tensor:
    """Routes by Sabour 2017, Procedure 1, line by line, with the logits b of every child and parent in memory: ``[N, J, H]``."""
    logits = votes.new_zeros(votes.shape[:3], dtype=accumulation_dtype(votes.dtype))
    outputs = votes.new_empty(0)
    for iteration in range(iterations):
        couplings = logits.softmax(dim=2)
        outputs = squash((couplings.unsqueeze(3) * votes).sum(dim=1))
        if iteration < iterations - 1:
            logits = logits + (votes * outputs.unsqueeze(1)).sum(dim=3)
    return outputs


def usual_em(
    votes: Tensor,
    activations: Tensor,
    beta_a: Tensor,
    beta_u: Tensor,
    inverse_temperatures: Sequence[float],
    *,
    mass_scale: float,
    variance_epsilon: float,
    annealing: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Routes by Hinton 2018, Procedure 1, each M-step and E-step on all votes.

    Returns parent means ``[N, J, H]`` and activations ``[N, J]``.
    """
    shares = torch.full_like(votes[..., 0], 1 / votes.shape[2], dtype=activations.dtype)
    mean = parents = votes.new_empty(0)
    for iteration, inverse_temperature in enumerate(inverse_temperatures):
        # M-step
        weight = (shares * activations.unsqueeze(2)).unsqueeze(3)
        mass = weight.sum(dim=1, keepdim=True) + 1e-9
        mean = (weight * votes).sum(dim=1, keepdim=True) / mass
        variance = (weight * (votes - mean) ** 2).sum(dim=1, keepdim=True) / mass + variance_epsilon
        deviation = variance.sqrt().log()
        cost = (beta_u.unsqueeze(1) + deviation) * mass * mass_scale
        parents = torch.sigmoid(inverse_temperature * (beta_a - cost.sum(dim=3)))
        if iteration < len(inverse_temperatures) - 1:
            # E-step
            density = -((votes - mean) ** 2) / (2 * variance) - deviation - 0.5 * math.log(2 * math.pi)
            shares = torch.softmax(annealing * (density.sum(dim=3) + parents.log()), dim=2)
    return mean.squeeze(1), parents.squeeze(1)


def make_route(backend: str) -> Route:
    """Makes a route of this package's `dynamic_routing` and `em_routing` with one of its backends."""

    def route_by_backend(case: Case, inputs: Inputs) -> Outputs:
        if case.layer.routing == "dynamic":
            return (dynamic_routing(inputs.poses, inputs.weights, case.iterations, backend=backend),)
        options: dict[str, Any] = dict(inverse_temperature=case.inverse_temperatures, mass_scale=case.mass_scale)
        return em_routing(
            *inputs[:5],  # type: ignore[arg-type]  # none of them is None in EM routing
            case.iterations,
            offset=inputs.offset,
            variance_epsilon=VARIANCE_EPSILON,
            backend=backend,
            **options,
        )

    return route_by_backend


BASELINE = "broadcast"
"""The contender that the others' times are compared with."""

CONTENDERS: dict[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender(BASELINE, route_usual),
        Contender("broadcast-compiled", route_usual, compiled=True),
        Contender("reference", make_route("reference"), backend="reference"),
        Contender("reference-compiled", make_route("reference"), backend="reference", compiled=True),
        Contender("cpu", make_route("cpu"), backend="cpu"),
        Contender("triton", make_route("triton"), backend="triton"),
    )
}
