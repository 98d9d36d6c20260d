"""The fused vote pass and whole routings on the CPU, compiled by Numba: users need no compiler and no build step.

    votes       V_ijh = sum_d u_ird W_ijde (+ o_irh)                    recomputed wherever they are needed
    logits      bias_j + <direction_j, m_j> + sum_h t (direction_jh - 1/2 precision_jh t),  t = V_ijh - m_jh, m the mean or 0
    gradients   as in `autograd.py`

One value of type `Lanes` (`lanes.py`) holds the same number of 16 children: a softmax over the parents then needs no shuffling,
and an image of a batch of 1 costs no more than one of a large batch. The kernels are in `passes.py`, the loops inside them in
`cores.py`, the memory layout in `layout.py`. An item is a task for the threads (`threads.py`).

Items share no output. A parent's sums get a part from each stretch of children, a matrix's gradient one from each stretch of
problems. Each item writes its own part, and a second step adds the parts in their order. The cuts depend on the shapes alone,
so the result depends neither on the number of threads nor on the order in which they finish.

Numba was chosen by measuring (docs/kernels.md). The first call on a machine compiles for some seconds and keeps the result on
disk, in Numba's places: beside this file, or in the user's cache.
"""

from __future__ import annotations

from inspect import isfunction

import torch
from torch import Tensor

from capsbench_kernels.passes.cpu.compiling import COMPILATIONS
from capsbench_kernels.passes.cpu.passes import sweep_item
from capsbench_kernels.passes.cpu.routing import (
    infer_parents,
    route_dynamic,
    route_dynamic_backward,
    route_em,
    route_em_backward,
)
from capsbench_kernels.passes.cpu.sequence import PartSums
from capsbench_kernels.passes.cpu.setting import ChildGradients, Setting
from capsbench_kernels.passes.cpu.steps import Item, Sums, Tensors, Upstream
from capsbench_kernels.passes.types import PassInputs, PassSums, Wanted

__all__ = [
    "COMPILED",
    "backward",
    "find_obstacle",
    "forward",
    "infer_parents",
    "load_kernels",
    "route_dynamic",
    "route_dynamic_backward",
    "route_em",
    "route_em_backward",
]

COMPILED = not isfunction(sweep_item)
"""False under NUMBA_DISABLE_JIT=1: the kernels are then functions that Python cannot run."""


def find_obstacle(device: torch.device) -> str | None:
    """See `capsbench_kernels.passes.types.Kernels`."""
    if not COMPILED:
        return "Numba's compiler is switched off by NUMBA_DISABLE_JIT"
    return None if device.type == "cpu" else f"its kernels run on the CPU, and the tensors are on {device}"


def load_kernels() -> None:
    """Runs the smallest pass, which loads the compiled kernels for float32 into this process, or compiles them.

    Numba takes half a second to load its first kernel. Processes that are forked from this one have them loaded; no thread is
    started here, and no tensor is on a GPU.
    """
    if COMPILED:
        one = torch.zeros([1] * 4, device="cpu")
        inputs = PassInputs(one, one, *[None] * 8)
        with COMPILATIONS.silence():  # the terminal may show the progress of another process
            backward(inputs, forward(inputs), wanted=Wanted(weights=True, offset=False), constant_shares=False)


def forward(inputs: PassInputs) -> PassSums:
    """See `capsbench_kernels.passes.types.Kernels`."""
    setting = Setting(inputs.poses, inputs.weights, inputs.offset)
    layer, tensors = setting.layer, _place_tensors(setting, inputs)
    totals = setting.numbers(), setting.values(), setting.values()
    part_sums = PartSums(setting, second=True)
    log_normaliser = inputs.log_normaliser
    if log_normaliser is None:
        log_normaliser = setting.memory.empty(layer.problems, layer.children)
    written = log_normaliser.data_ptr()

    def sweep(item: Item, part: int, unit_part: int) -> None:
        setting.read_item(item)
        setting.sweep(item, tensors, Sums(*part_sums.places(part, totals), written))

    setting.run(sweep)
    part_sums.add(totals)
    mass, first, second = totals
    return PassSums(
        mass[: layer.problems].clone(), setting.from_units(first), setting.from_units(second), log_normaliser
    )


def backward(inputs: PassInputs, gradients: PassSums, *, wanted: Wanted, constant_shares: bool) -> PassInputs:
    """See `capsbench_kernels.passes.types.Kernels`."""
    setting = Setting(inputs.poses, inputs.weights, inputs.offset)
    layer, tensors, address = setting.layer, _place_tensors(setting, inputs), setting.memory.address
    upstream = Upstream(
        address(setting.pad_problems(gradients.mass)),
        address(setting.to_units(gradients.first)),
        address(setting.to_units(gradients.second)),
        address(gradients.log_normaliser),
    )
    children = ChildGradients(
        setting, 1, wanted=wanted, activations_wanted=inputs.activations is not None,
        constant_shares=constant_shares,
    )  # fmt: skip
    to_given = None if inputs.log_normaliser is None else setting.memory.empty(layer.problems, layer.children)
    slopes = setting.numbers(), setting.values(), setting.values()
    part_slopes = PartSums(setting, second=True)

    def sweep(item: Item, part: int, unit_part: int) -> None:
        setting.read_item(item)
        places = part_slopes.places(part, slopes)
        written = children.sums(0, *places, normaliser=address(to_given), fresh=True)
        setting.sweep(item, tensors, written, upstream)
        setting.spread(item, tensors, upstream, children.votes(unit_part, about_mean=False))
        children.write_item(item)

    setting.run(sweep)
    part_slopes.add(slopes)
    children.write_weights()

    # About the mean, or about 0: direction needs gl V, and the kernel has summed gl (V - mean).
    to_bias, first = slopes[0][: layer.problems], setting.from_units(slopes[1])
    direction = mean = precision = None
    if inputs.direction is not None:
        direction = first if inputs.mean is None else first + inputs.mean * to_bias.unsqueeze(2)
    if inputs.precision is not None:
        mean, precision = inputs.precision * first, -0.5 * setting.from_units(slopes[2])
    return PassInputs(
        poses=children.poses,
        weights=children.weights,  # type: ignore[arg-type]
        activations=children.activations,
        offset=children.offset,
        bias=None if inputs.bias is None else to_bias,
        direction=direction,
        mean=mean,
        precision=precision,
        centre=None,
        log_normaliser=to_given,
    )


def _place_tensors(setting: Setting, inputs: PassInputs) -> Tensors:
    """Returns the belief of a pass in the layout of the kernels."""
    address, units = setting.memory.address, setting.to_units
    steepness: Tensor | None = None if inputs.precision is None else -0.5 * inputs.precision
    bias = inputs.bias
    if inputs.direction is not None and inputs.mean is not None:
        # The kernels multiply the direction by V - mean.
        constant = (inputs.direction * inputs.mean).sum(dim=2)
        bias = constant if bias is None else bias + constant
    return setting.tensors(
        activations=address(inputs.activations),
        normaliser=address(inputs.log_normaliser),
        bias=address(setting.pad_problems(bias)),
        direction=address(units(inputs.direction)),
        mean=address(units(inputs.mean)),
        steepness=address(units(steepness)),
        centre=address(units(inputs.centre)),
    )
