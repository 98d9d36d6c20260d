"""Whole routings on the CPU: the passes and the updates between them, without an operation of torch in between.

Where a problem belongs to one item (`Setting.parts` is 1), a thread takes the item through all iterations. Elsewhere all
threads run a pass, the sums of its parts are added in their order, and all threads run the update (`sequence.py`). The
functions know nothing of autograd: a forward function returns the tensors that its backward function needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from capsbench_kernels.passes.cpu.layout import Layer
from capsbench_kernels.passes.cpu.sequence import PartSums, Step, run_steps
from capsbench_kernels.passes.cpu.setting import ChildGradients, Setting
from capsbench_kernels.passes.cpu.squashes import Squashed, differentiate_squashed, update_squashed
from capsbench_kernels.passes.cpu.steps import Item, Sums, Tensors, Upstream
from capsbench_kernels.passes.cpu.updates import (
    GaussianGradients,
    Gaussians,
    Options,
    differentiate_gaussians,
    update_gaussians,
)
from capsbench_kernels.passes.types import DynamicOptions, EMOptions, Wanted


def infer_parents(poses: Sequence[int], weights: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """See `capsbench_kernels.passes.types.RoutingKernels`."""
    layer = Layer.of_sizes(poses[0], poses[1], weights[1], poses[2], poses[3], weights[3])
    return (layer.padded_problems, layer.parents), (layer.parent_values,)


def route_em(tensors: Sequence[Any], options: EMOptions) -> tuple[Tensor, ...]:
    """See `capsbench_kernels.passes.types.RoutingKernels`."""
    routing = _EM(tensors, options)
    return *routing.run_forward(), *routing.sums


def route_em_backward(
    tensors: Sequence[Any], options: EMOptions, saved: Sequence[Tensor], upstream: Sequence[Tensor], *,
    last_only: bool, wanted: Wanted,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """See `capsbench_kernels.passes.types.RoutingKernels`."""
    return _EM(tensors, options, saved).run_backward(upstream, last_only, wanted)


def route_dynamic(tensors: Sequence[Any], options: DynamicOptions) -> tuple[Tensor, ...]:
    """See `capsbench_kernels.passes.types.RoutingKernels`."""
    routing = _Dynamic(tensors, options)
    return routing.run_forward(), routing.sums, routing.directions


def route_dynamic_backward(
    tensors: Sequence[Any], options: DynamicOptions, saved: Sequence[Tensor], upstream: Sequence[Tensor], *,
    last_only: bool, wanted: Wanted,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """See `capsbench_kernels.passes.types.RoutingKernels`."""
    return _Dynamic(tensors, options, saved).run_backward(upstream[0], last_only, wanted)


class _EM:
    """The tensors of a call of EM routing."""

    def __init__(self, tensors: Sequence[Any], options: EMOptions, sums: Sequence[Tensor] | None = None) -> None:
        poses, weights, offset, activations, *betas = tensors
        self.setting, self.options = (setting := Setting(poses, weights, offset)), options
        self.iterations = len(options.inverse_temperature)
        # Of each iteration: mass, first, second, centre, and the sum of the logarithms of the variances.
        self.sums = sums or (
            setting.numbers(self.iterations),
            *(setting.values(self.iterations) for _ in range(3)),
            setting.numbers(self.iterations),
        )
        address = setting.memory.address
        self._activations, self._betas = address(activations), (address(betas[0]), address(betas[1]))
        # The belief of each pass but the first; forward, where one pass is over before the next, there is one for all.
        self._beliefs = self.iterations - 1 if sums else 1
        self._mean, self._steepness = setting.values(self._beliefs), setting.values(self._beliefs)
        self._bias = setting.numbers()

    def find_belief(self, iteration: int) -> tuple[int, int, int]:
        """Returns the addresses of mean, steepness and bias in the pass of an iteration; the first one has none."""
        if iteration == 0 or not self._beliefs:
            return 0, 0, 0
        index = min(iteration, self._beliefs) - 1
        return self._mean[index].data_ptr(), self._steepness[index].data_ptr(), self._bias.data_ptr()

    def tensors_of_pass(self, iteration: int, *, saved_centre: bool) -> Tensors:
        """Returns the tensors of a pass. Its centre is the mean of the belief, or the one saved."""
        mean, steepness, bias = self.find_belief(iteration)
        centre = self.sums[3][iteration].data_ptr() if saved_centre else mean
        return self.setting.tensors(
            activations=self._activations, bias=bias, mean=mean, steepness=steepness, centre=centre
        )

    def options_of(self, iteration: int) -> Options:
        """Returns the options of an iteration in the form of the kernels."""
        temperatures, *others = self.options
        return Options(float(temperatures[iteration]), *map(float, others))

    def make_update(self, iteration: int, means: int = 0, parents: int = 0) -> Callable[[Item, bool], bool]:
        """Returns a function that runs the M-step of an iteration on an item; the flag and the result are those of the kernel."""
        # Whatever is the same for all items is found before: their threads take turns at Python code.
        gaussians, options = self._gaussians(iteration, means, parents), self.options_of(iteration)
        layer, zero = self.setting.layer, self.setting.memory.zero

        def update(item: Item, checked: bool) -> bool:
            lost: bool = update_gaussians(
                layer, gaussians, options, item.first_unit, item.last_unit, checked, item.scratch, zero
            )
            return lost

        return update

    def _gaussians(self, iteration: int, means: int = 0, parents: int = 0) -> Gaussians:
        mass, first, second, centre, logs = (tensor[iteration].data_ptr() for tensor in self.sums)
        mean, steepness, bias = self.find_belief(iteration + 1)
        return Gaussians(
            mass, first, second, centre, logs, mean, steepness, 0 if means else bias, means, parents, *self._betas
        )

    def run_forward(self) -> tuple[Tensor, Tensor]:
        """Runs all iterations; returns the outputs and fills the sums."""
        setting = self.setting
        layer = setting.layer
        means = setting.memory.empty(layer.problems, layer.parents, layer.rows, layer.columns)
        parents = setting.memory.empty(layer.problems, layer.parents)
        part_sums = PartSums(setting, second=True)
        values, belief = layer.parent_values // layer.units, self._mean[0].numpy()

        def make_step(iteration: int) -> Step:
            targets = [tensor[iteration] for tensor in self.sums[:3]]
            centre = self.sums[3][iteration].numpy()
            first, repeated = (self.tensors_of_pass(iteration, saved_centre=saved) for saved in (False, True))
            outputs = (means.data_ptr(), parents.data_ptr()) if iteration == self.iterations - 1 else ()
            run_update = self.make_update(iteration, *outputs)

            def sweep(item: Item, part: int, unit_part: int, again: bool) -> None:
                setting.sweep(item, repeated if again else first, Sums(*part_sums.places(part, targets), 0))

            def update(item: Item, again: bool) -> bool:
                if not again:
                    place = slice(item.first_unit * values, item.last_unit * values)
                    centre[place] = belief[place] if iteration else 0
                return run_update(item, not again)

            def restore(item: Item) -> None:
                if iteration > 0:
                    self.make_update(iteration - 1)(item, False)

            return Step(sweep, lambda: part_sums.add(targets), update, restore)

        steps = [make_step(iteration) for iteration in range(self.iterations)]
        run_steps(setting, lambda item: None, steps, lambda item, unit_part: None)
        return means, parents

    def run_backward(self, upstream: Sequence[Tensor], last_only: bool, wanted: Wanted) -> tuple[Tensor | None, ...]:
        """Runs the iterations in reverse; returns the gradients."""
        setting = self.setting
        layer, address, zero = setting.layer, setting.memory.address, setting.memory.zero
        last = self.iterations - 1
        first = last if last_only else 0
        weighed = max(first, 1)  # the first pass with a belief
        of_means, of_parents = (address(gradient) for gradient in upstream)
        children = ChildGradients(
            setting, last - weighed + 1, wanted=wanted, activations_wanted=True,
            constant_shares=last_only,
        )  # fmt: skip
        betas = [setting.memory.zeros(layer.padded_problems, layer.parents) for _ in range(2)]
        to_sums = setting.numbers(self.iterations), *(setting.values(self.iterations) for _ in range(2))
        slopes = setting.numbers(), setting.values(), setting.values()
        part_slopes = PartSums(setting, second=True)

        def find_sums(iteration: int) -> tuple[int, int, int]:
            mass, first_moment, second_moment = (tensor[iteration].data_ptr() for tensor in to_sums)
            return mass, first_moment, second_moment

        def make_differentiation(iteration: int) -> Callable[[Item], object]:
            """Returns a function for the gradients of the sums of an iteration, and the belief of its pass."""
            given = [of_means, of_parents] if iteration == last else [0, 0]
            believed = [0, 0, 0] if iteration == last else [tensor.data_ptr() for tensor in slopes]
            outputs = (*find_sums(iteration), *(tensor.data_ptr() for tensor in betas))
            gradients, gaussians = GaussianGradients(*believed, *given, *outputs), self._gaussians(iteration)
            options, run_update = self.options_of(iteration), self.make_update(max(iteration - 1, 0))

            def differentiate(item: Item) -> None:
                differentiate_gaussians(
                    layer, gaussians, options, gradients, item.first_unit, item.last_unit, item.scratch, zero
                )
                if iteration > 0:
                    run_update(item, False)

            return differentiate

        def make_step(iteration: int) -> Step:
            tensors = self.tensors_of_pass(iteration, saved_centre=True)
            about_mean = tensors._replace(centre=tensors.mean)
            received = Upstream(*find_sums(iteration), 0)
            differentiate = make_differentiation(iteration - 1) if iteration > first else None

            def sweep(item: Item, part: int, unit_part: int, again: bool) -> None:
                places = part_slopes.places(part, slopes)
                written = children.sums(iteration - weighed, *places, fresh=iteration == last)
                unmoved = is_about_mean(item, iteration, iteration + 1)
                setting.sweep(item, about_mean if unmoved else tensors, written, received)

            def update(item: Item, again: bool) -> bool:
                if differentiate is not None:
                    differentiate(item)
                return False

            return Step(sweep, lambda: part_slopes.add(slopes), update)

        def is_about_mean(item: Item, start: int, stop: int) -> bool:
            """Tells whether the centre of an item's moments is the mean in some iterations: no pass was repeated."""
            place = slice(item.first_unit * values, item.last_unit * values)
            return bool((means[start - 1 : stop - 1, place] == centres[start:stop, place]).all())

        tensors = self.tensors_of_pass(min(weighed, last), saved_centre=True)
        tensors_about_mean = tensors._replace(centre=tensors.mean)
        received = Upstream(*(find_sums(weighed) if weighed <= last else (0, 0, 0)), 0)
        equal: dict[str, Any] = dict(equal_share=1 / layer.parents if first == 0 else 0.0, equal_sums=find_sums(0))

        def finish(item: Item, unit_part: int) -> None:
            moved = first == 0 and centres[0, item.first_unit * values : item.last_unit * values].any()
            about_mean = weighed <= last and is_about_mean(item, weighed, last + 1)
            votes = children.votes(
                unit_part, about_mean=about_mean, equal_centre=self.sums[3].data_ptr() if moved else 0, **equal
            )
            setting.spread(item, tensors_about_mean if about_mean else tensors, received, votes)
            children.write_item(item)

        means, centres, values = self._mean.numpy(), self.sums[3].numpy(), layer.parent_values // layer.units
        steps = [make_step(iteration) for iteration in range(last, weighed - 1, -1)]
        run_steps(setting, make_differentiation(last), steps, finish)
        children.write_weights()
        return children.poses, children.weights, children.offset, children.activations, *map(_sum_problems, betas)


class _Dynamic:
    """The tensors of a call of dynamic routing."""

    def __init__(self, tensors: Sequence[Any], options: DynamicOptions, saved: Sequence[Tensor] | None = None) -> None:
        poses, weights, offset, self.bias = tensors
        self.setting, self.options = (setting := Setting(poses, weights, offset)), options
        # Of each iteration: what a parent receives, and the sum of the outputs after it.
        self.sums, self.directions = saved or (
            setting.values(options.iterations),
            setting.values(options.iterations - 1),
        )
        self._bias = setting.memory.address(self.bias)

    def tensors_of_pass(self, iteration: int) -> Tensors:
        """Returns the tensors of a pass; the first one has no belief."""
        direction = self.directions[iteration - 1].data_ptr() if iteration else 0
        return self.setting.tensors(direction=direction, leaky=self.options.leaky)

    def squashed(self, iteration: int, outputs: int = 0) -> Squashed:
        """Returns the addresses of an iteration."""
        last = iteration == self.options.iterations - 1
        return Squashed(
            self.sums[iteration].data_ptr(), self._bias,
            self.directions[iteration - 1].data_ptr() if iteration else 0,
            0 if last else self.directions[iteration].data_ptr(), outputs,
            -1 if last else self.options.variant,
        )  # fmt: skip

    def run_forward(self) -> Tensor:
        """Runs all iterations; returns the outputs and fills the sums and the directions."""
        setting = self.setting
        layer, zero = setting.layer, setting.memory.zero
        outputs = setting.memory.empty(layer.problems, layer.parents, layer.rows * layer.columns)
        masses = setting.numbers()
        part_sums = PartSums(setting, second=False)

        def make_step(iteration: int) -> Step:
            targets = [masses, self.sums[iteration]]
            tensors = self.tensors_of_pass(iteration)
            last = iteration == self.options.iterations - 1
            squashed = self.squashed(iteration, outputs.data_ptr() if last else 0)

            def sweep(item: Item, part: int, unit_part: int, again: bool) -> None:
                setting.sweep(item, tensors, Sums(*part_sums.places(part, targets), 0))

            def update(item: Item, again: bool) -> bool:
                update_squashed(layer, squashed, item.first_unit, item.last_unit, zero)
                return False

            return Step(sweep, lambda: part_sums.add(targets), update)

        steps = [make_step(iteration) for iteration in range(self.options.iterations)]
        run_steps(setting, lambda item: None, steps, lambda item, unit_part: None)
        return outputs

    def run_backward(self, upstream: Tensor, last_only: bool, wanted: Wanted) -> tuple[Tensor | None, ...]:
        """Runs the iterations in reverse; returns the gradients."""
        setting = self.setting
        layer, zero = setting.layer, setting.memory.zero
        last = self.options.iterations - 1
        first = last if last_only else 0
        weighed = max(first, 1)  # the first pass with a belief
        given = setting.memory.address(upstream)
        children = ChildGradients(
            setting, last - weighed + 1, wanted=wanted, activations_wanted=False,
            constant_shares=last_only,
        )  # fmt: skip
        total = setting.memory.zeros(layer.parent_values)
        # The gradient of each iteration's sums, which is also that of the bias.
        to_sums = setting.values(self.options.iterations)
        slopes = setting.numbers(), setting.values()
        part_slopes = PartSums(setting, second=False)

        def differentiate(iteration: int, item: Item) -> None:
            differentiate_squashed(
                layer, self.squashed(iteration), given if iteration == last else 0, slopes[1].data_ptr(),
                total.data_ptr(), to_sums[iteration].data_ptr(), item.first_unit, item.last_unit, zero,
            )  # fmt: skip

        def make_step(iteration: int) -> Step:
            tensors, received = self.tensors_of_pass(iteration), Upstream(0, to_sums[iteration].data_ptr(), 0, 0)

            def sweep(item: Item, part: int, unit_part: int, again: bool) -> None:
                places = part_slopes.places(part, slopes)
                written = children.sums(iteration - weighed, *places, fresh=iteration == last)
                setting.sweep(item, tensors, written, received)

            def update(item: Item, again: bool) -> bool:
                if iteration > first:
                    differentiate(iteration - 1, item)
                return False

            return Step(sweep, lambda: part_slopes.add(slopes), update)

        tensors = self.tensors_of_pass(min(weighed, last))
        received = Upstream(0, to_sums[weighed].data_ptr() if weighed <= last else 0, 0, 0)
        equal: dict[str, Any] = {}
        if first == 0:
            share = 1 / (layer.parents + self.options.leaky)
            equal = dict(equal_share=share, equal_sums=(0, to_sums[0].data_ptr(), 0))

        def finish(item: Item, unit_part: int) -> None:
            setting.spread(item, tensors, received, children.votes(unit_part, about_mean=False, **equal))
            children.write_item(item)

        steps = [make_step(iteration) for iteration in range(last, weighed - 1, -1)]
        run_steps(setting, lambda item: differentiate(last, item), steps, finish)
        children.write_weights()
        to_bias = None
        if self.bias is not None:
            to_bias = torch.stack([_sum_problems(setting.from_units(each)) for each in to_sums[first:]]).sum(dim=0)
        return children.poses, children.weights, children.offset, to_bias


def _sum_problems(tensor: Tensor) -> Tensor:
    """Returns the sum over the first dimension, on this thread."""
    return torch.from_numpy(np.add.reduce(tensor.numpy(), axis=0))
