"""EM routing (Hinton, Sabour, Frosst 2018, Procedure 1) as a loop of vote passes.

Each parent is a diagonal Gaussian over votes. A pass is the E-step under a given belief, together with the sums that the M-step
needs. The M-step itself computes one row a parent; it is written out below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from capsbench_kernels.errors import ArgumentError
from capsbench_kernels.passes import recentre
from capsbench_kernels.passes.api import log_normaliser, vote_pass
from capsbench_kernels.passes.observe import unnoticed
from capsbench_kernels.passes.recentre import recentred
from capsbench_kernels.passes.types import EMOptions, Moments, Parents, accumulation_dtype
from capsbench_kernels.routings.whole import EMOperator, find_backend, is_observed, run_whole

MASS_FLOOR = 1e-9
"""Smallest mass that a parent's sums are divided by: if every child is inactive, its mean and cost are 0, not NaN."""


def em_routing(
    poses: Tensor,
    weights: Tensor,
    activations: Tensor,
    beta_a: Tensor,
    beta_u: Tensor,
    iterations: int = 3,
    *,
    inverse_temperature: Sequence[float],
    offset: Tensor | None = None,
    variance_epsilon: float = 5e-4,
    mass_scale: float = 1.0,
    annealing: float = 1.0,
    normaliser: Callable[[Tensor], Tensor] | None = None,
    gradient: str = "all",
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Routes child poses and activations to parents by expectation-maximisation (Hinton 2018, Procedure 1).

    With the mass, mean and variance of the votes that parent j receives,

        cost_jh = (beta_u_j + 1/2 log sigma^2_jh) * mass_j * mass_scale
        a_j     = sigmoid(inverse_temperature[t] * (beta_a_j - sum_h cost_jh))

    and the next E-step shares child i by ``r_ij ~ (a_j p_j(V_ij))^annealing``, normalised over the parents.

    Args:
        poses: child poses ``[N, I, R, D]``.
        weights: transformation matrices ``[I, J, D, E]``.
        activations: child activations ``[N, I]`` in [0, 1].
        beta_a: ``[J]``, the gain of activating a parent.
        beta_u: ``[J]``, the cost of describing one value of a vote.
        iterations: 1 or more; the first shares every child equally.
        inverse_temperature: one value an iteration (or more; the first ``iterations`` count).
        offset: added to the votes, ``[N or 1, I, R, E]`` (coordinate addition).
        variance_epsilon: added to every variance, in units of a vote squared.
        mass_scale: multiplies the cost. ``100 / (I / J)`` makes layers of different fan-in see one temperature (Gritzman 2019).
        annealing: the power of deterministic annealing EM (Ueda and Nakano 1998); 1 is the paper's E-step. A density over H
            values differs between parents by tens of nats, so that an untempered E-step gives each child to one parent
            alone, and multiplies small differences in the input at every iteration.
        normaliser: for an E-step over more parents than a problem has (Gritzman 2019). It maps the log of each child's softmax
            denominator over the parents of its problem, ``[N, I]``, to that over all parents that see the child.
        gradient: ``all`` iterations carry gradients, or only the ``last``, with constant shares.
        backend: see `capsbench_kernels.vote_pass`.

    Returns:
        Parent poses ``[N, J, R, E]`` and parent activations ``[N, J]``.
    """
    if iterations < 1:
        raise ArgumentError("iterations", "1 or more", iterations)
    if activations is None:
        raise ArgumentError("activations", str(list(poses.shape[:2])), None)
    for name, beta in (("beta_a", beta_a), ("beta_u", beta_u)):
        if list(beta.shape) != [weights.shape[1]]:
            raise ArgumentError(name, f"[{weights.shape[1]}], one a parent", list(beta.shape))
        if accumulation_dtype(beta.dtype) != accumulation_dtype(activations.dtype):
            raise ArgumentError(name, f"{accumulation_dtype(activations.dtype)} like the activations", beta.dtype)
    if not isinstance(inverse_temperature, Sequence):
        raise ArgumentError("inverse_temperature", "a value an iteration", inverse_temperature)
    if len(inverse_temperature) < iterations:
        raise ArgumentError("inverse_temperature", f"{iterations} values", len(inverse_temperature))

    if gradient not in ("all", "last"):
        raise ArgumentError("gradient", "'all' or 'last'", gradient)

    outputs: tuple[Tensor, ...] | None = None
    if normaliser is None and (whole := find_backend(backend, poses)) is not None:
        temperatures = [float(number) for number in inverse_temperature[:iterations]]
        options = EMOptions(temperatures, variance_epsilon, mass_scale, annealing, MASS_FLOOR, recentre.CANCELLATION)
        tensors = (poses, weights, offset, activations, beta_a, beta_u)
        outputs = run_whole(ROUTE_EM, whole, options, gradient == "last", tensors)
        if not is_observed():
            return outputs[0], outputs[1]

    values = poses.shape[2] * weights.shape[3]
    parents = Parents()
    mean = logit = poses.new_empty(0)
    for iteration in range(iterations):
        last = iteration == iterations - 1
        with torch.set_grad_enabled(torch.is_grad_enabled() and (last or gradient == "all")):
            log_sums = None
            if normaliser is not None:
                log_sums = normaliser(log_normaliser(poses, weights, parents, offset, backend))

            def share_out(belief: Parents, log_sums: Tensor | None = log_sums) -> Moments:
                return vote_pass(
                    poses,
                    weights,
                    belief,
                    activations,
                    offset,
                    backend,
                    log_normaliser=log_sums,
                    constant_shares=gradient == "last",
                )

            # M-step. With moments about the last mean the variance is no difference of large numbers, unless a parent has jumped.
            moments = share_out(parents)
            mass, share = moments.mass, moments.mass.clamp_min(MASS_FLOOR).unsqueeze(2)
            mean, variance = gaussian_of(moments, parents.centre, share, variance_epsilon)
            moments, centre = recentred(moments, parents, mean, variance, share, share_out)
            if centre is not parents.centre:
                with unnoticed():
                    mean, variance = gaussian_of(moments, centre, share, variance_epsilon)
            log_variance = variance.log().sum(dim=2)
            # The cost of the paper, summed over the H values of a vote: log sigma_h = 1/2 log sigma_h^2.
            cost = (values * beta_u + 0.5 * log_variance) * mass * mass_scale
            logit = inverse_temperature[iteration] * (beta_a - cost)
            if last:
                break
            # The E-step is the next pass: log a_j + log p_j(V), the terms without V in the bias.
            density = -0.5 * (values * math.log(2 * math.pi) + log_variance)
            parents = Parents(
                bias=annealing * (logsigmoid(logit) + density),
                mean=mean,
                precision=annealing / variance,
                centre=mean.detach(),  # no gradient: the moments about any centre give the same mean and variance
            )
    if outputs is not None:
        return outputs[0], outputs[1]
    return mean.unflatten(-1, (poses.shape[2], weights.shape[3])), torch.sigmoid(logit)


def gaussian_of(moments: Moments, centre: Tensor | None, share: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Returns the mean and the variance plus epsilon, ``[N, J, H]``, of votes with moments about ``centre``, 0 if None.

    ``share`` ``[N, J, 1]`` is the mass that the moments are divided by.
    """
    shift = moments.first / share
    mean = shift if centre is None else centre + shift
    variance = torch.addcmul(moments.second / share, shift, shift, value=-1).clamp_min(0) + epsilon
    return mean, variance


def _route_by_reference(tensors: Sequence[Any], options: EMOptions, last_only: bool) -> tuple[Tensor, Tensor]:
    poses, weights, offset, activations, beta_a, beta_u = tensors
    return em_routing(
        poses, weights, activations, beta_a, beta_u, len(options.inverse_temperature),
        inverse_temperature=options.inverse_temperature, offset=offset, variance_epsilon=options.variance_epsilon,
        mass_scale=options.mass_scale, annealing=options.annealing, gradient="last" if last_only else "all",
        backend="reference",
    )  # fmt: skip


ROUTE_EM = EMOperator(_route_by_reference)
