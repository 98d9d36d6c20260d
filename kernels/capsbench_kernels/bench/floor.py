"""Computes the least bytes and operations of a routing, by its formulas, and their time at a machine's peaks.

The arithmetic is that of kernels which recompute the votes in every pass, as those of this package do. A multiplication and an
addition are 2 operations. By the formulas of `capsbench_kernels.vote_pass`, with D the depth of a pose, the backward pass needs,
for each of the N*I*J*H values of a vote:

    2 D        the vote, where something below needs it: the belief, the activations' gradient, the second moment's
    1          an offset, if any
    1          D_ij = V_ij - c_j, where there is a centre
    2 or 4     the logit again: <direction, V>, or the Gaussian's distance (its V - mean is kept)
    2 (+3)     gw_ij: <g1, D>, and <g2, D^2> where the second moment is used
    2          gdirection: a sum of gl_ij V_ij
    2 + 2      gmean and gprecision: sums of gl_ij (V_ij - mean_j) and of its square, which is kept from the logit
    1 (+2)     gV_ij: w_ij g1_j, and + 2 g2_j D_ij
    2 or 3     gV_ij: + gl_ij direction_j, or - gl_ij precision_j (V_ij - mean_j)
    4 D        gu_i = sum_j gV_ij W_ij^T and gW_ij = sum_n u_i^T gV_ij: once a routing, from the sum of all passes

and for each of the N*I*J logits 5 + 1 for the share again and 6 for its gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from capsbench_kernels.bench.layers import DTYPES, Case
from capsbench_kernels.passes.arithmetic import pass_operations
from capsbench_kernels.passes.types import Parents, PassInputs, accumulation_dtype


@dataclass(frozen=True)
class Peaks:
    """The measured peaks of a machine: float32 operations a second in a matrix product, bytes a second in a copy."""

    flops: float
    bandwidth: float


@dataclass(frozen=True)
class Floor:
    """The least cost of a pass: ``bytes`` moved, ``flops`` computed, and bytes ``held`` at its end, its results."""

    bytes: int
    flops: int
    held: int

    def seconds_at(self, peaks: Peaks) -> float:
        """Returns the time at these peaks; moving and computing may overlap."""
        return max(self.bytes / peaks.bandwidth, self.flops / peaks.flops)


def compute_floor(case: Case, backward: bool) -> Floor:
    """Returns the floor of a routing's forward pass, or of both passes."""
    beliefs = beliefs_of(case)
    flops = sum(forward_flops(case, belief) for belief in beliefs)
    if backward:
        flops += sum(backward_flops(case, belief) for belief in beliefs) + 4 * case.layer.depth * vote_values(case)
    inputs, offset, outputs = tensor_bytes(case)
    # Inputs and outputs move once each, and with a backward pass the gradients of both once each; the offset has none.
    moved = (inputs + outputs) * (2 if backward else 1) + offset
    return Floor(moved, flops, outputs + inputs if backward else outputs)


def tensor_bytes(case: Case) -> tuple[int, int, int]:
    """Returns the bytes of the inputs with gradients, of the offset, and of the outputs."""
    layer = case.layer
    width = DTYPES[case.dtype].itemsize
    width_of_sums = accumulation_dtype(DTYPES[case.dtype]).itemsize
    votes_of_a_child = layer.rows * layer.columns
    poses = case.problems * layer.children * layer.rows * layer.depth
    weights = layer.children * layer.parents * layer.depth * layer.columns
    outputs = case.problems * layer.parents * votes_of_a_child
    extra = 0
    if layer.routing == "em":
        extra = case.problems * layer.children + 2 * layer.parents
        outputs += case.problems * layer.parents
    offset = layer.children * votes_of_a_child * width if layer.coordinates else 0
    return (poses + weights) * width + extra * width_of_sums, offset, outputs * width_of_sums


def beliefs_of(case: Case) -> list[Parents]:
    """Returns the belief before each pass, as tensors without content: the formulas ask only which ones there are."""
    placeholder = torch.empty(0, device="meta")
    later = (
        Parents(direction=placeholder)
        if case.layer.routing == "dynamic"
        else Parents(bias=placeholder, mean=placeholder, precision=placeholder, centre=placeholder)
    )
    return [Parents(), *[later] * (case.iterations - 1)]


def forward_flops(case: Case, belief: Parents) -> int:
    """Returns the operations of one forward vote pass."""
    layer = case.layer
    poses = torch.empty(case.problems, layer.children, layer.rows, layer.depth, device="meta")
    weights = torch.empty(layer.children, layer.parents, layer.depth, layer.columns, device="meta")
    placeholder = torch.empty(0, device="meta")
    activations = placeholder if layer.routing == "em" else None
    offset = placeholder if layer.coordinates else None
    parts = pass_operations(PassInputs(poses, weights, activations, offset, *belief, None))
    needed = ["votes", "logits", "shares", "mass", "first", *(["second"] if layer.routing == "em" else [])]
    return sum(parts[name] for name in needed)


def backward_flops(case: Case, belief: Parents) -> int:
    """Returns the operations of one backward vote pass, as listed at the top of this file, but those of gu and gW."""
    depth, em = case.layer.depth, case.layer.routing == "em"
    per_value = 1
    if belief.direction is not None:
        per_value += 2 + 2 + 2
    if belief.mean is not None:
        per_value += 4 + 4 + 3
    if belief.direction is not None or em:  # else the shares are constant, and nothing asks for the votes
        per_value += 2 * depth + 2 + case.layer.coordinates
    per_value += (3 + 2) * em + (belief.centre is not None)
    per_logit = 6 + 6
    return per_value * vote_values(case) + per_logit * case.problems * case.layer.children * case.layer.parents


def vote_values(case: Case) -> int:
    """Returns the number of values of all votes: N*I*J*H."""
    layer = case.layer
    return case.problems * layer.children * layer.parents * layer.rows * layer.columns
