"""The inputs and outputs of a vote pass, and the protocol of its kernels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class Parents(NamedTuple):
    """The belief about the parents before a pass; a field left at None takes no part in the logits.

    With N problems, J parents and votes of H = R*E values:

    - ``bias`` [N, J]: a logit a parent, such as the log of its activation.
    - ``direction`` [N, J, H]: agreement by scalar product (dynamic routing).
    - ``mean`` and ``precision`` [N, J, H]: agreement by a diagonal Gaussian (EM routing); given together or not at all.
    - ``centre`` [N, J, H]: the point the moments are taken about, 0 if None. Held constant: no gradient flows into it.
    """

    bias: Tensor | None = None
    direction: Tensor | None = None
    mean: Tensor | None = None
    precision: Tensor | None = None
    centre: Tensor | None = None


class Moments(NamedTuple):
    """The moments that a pass returns: ``mass`` [N, J], ``first`` and ``second`` [N, J, H], about `Parents.centre`."""

    mass: Tensor
    first: Tensor
    second: Tensor


class PassInputs(NamedTuple):
    """The inputs of a kernel, checked and contiguous.

    ``poses``, ``weights`` and ``offset`` share a dtype; the others have the dtype of the sums (`accumulation_dtype`). None means
    absent: no term in the logits, a centre of 0, activations of 1.
    """

    poses: Tensor  # [N, I, R, D]
    weights: Tensor  # [I, J, D, E]
    activations: Tensor | None  # [N, I]
    offset: Tensor | None  # [N or 1, I, R, E]
    bias: Tensor | None  # [N, J]
    direction: Tensor | None  # [N, J, H]
    mean: Tensor | None  # [N, J, H]
    precision: Tensor | None  # [N, J, H]
    centre: Tensor | None  # [N, J, H]
    log_normaliser: Tensor | None  # [N, I]


class PassSums(NamedTuple):
    """The sums that the forward kernel returns. Their gradients, in the same form, are the input of the backward kernel."""

    mass: Tensor  # [N, J]
    first: Tensor  # [N, J, H]
    second: Tensor  # [N, J, H]
    log_normaliser: Tensor  # [N, I], z; the given one if one was given (its gradient is then 0)


class Wanted(NamedTuple):
    """Whether those gradients are wanted that cost work or memory of their own. The others come in any case."""

    weights: bool
    offset: bool

    @classmethod
    def from_flags(cls, names: Iterable[str], flags: Iterable[bool]) -> Wanted:
        """Picks the flags of its fields from those of all tensors, by their names."""
        return cls(**{name: flag for name, flag in zip(names, flags, strict=True) if name in cls._fields})


class Kernels(Protocol):
    """The functions of a module of fused kernels. It allocates every tensor that it returns, in the accumulation dtype."""

    def find_obstacle(self, device: torch.device) -> str | None:
        """Returns the reason why the kernels cannot run on tensors of this device, or None."""
        ...

    def forward(self, inputs: PassInputs) -> PassSums:
        """Returns the sums of a pass."""
        ...

    def backward(
        self,
        inputs: PassInputs,
        gradients: PassSums,
        *,
        wanted: Wanted,
        constant_shares: bool,
    ) -> PassInputs:
        """Returns gradients by the names of the inputs, [N, I, R, E] for the offset.

        Absent inputs, the centre and what is not wanted have None.

        With ``constant_shares`` the shares are constants: gl_ij is 0, and no gradient flows into the belief.
        """
        ...


class EMOptions(NamedTuple):
    """The options of a whole EM routing that are numbers, see `capsbench_kernels.em_routing`; one temperature an iteration."""

    inverse_temperature: Sequence[float]
    variance_epsilon: float
    mass_scale: float
    annealing: float
    mass_floor: float  # the smallest mass that sums are divided by
    cancellation: float  # the largest ratio of a second moment to its spread, see `recentre.py`


class DynamicOptions(NamedTuple):
    """The options of a whole dynamic routing that are numbers, see `capsbench_kernels.dynamic_routing`."""

    iterations: int
    variant: int  # of the squash between the iterations: its index in `SQUASHES`
    leaky: bool


class RoutingKernels(Kernels, Protocol):
    """Kernels that also run whole routings: all passes and the updates between them.

    The tensors of EM routing are poses, weights, offset, activations, beta_a and beta_u; those of dynamic routing are poses,
    weights, offset and bias, None if absent. They are contiguous, and checked as those of a pass.
    """

    def infer_parents(self, poses: Sequence[int], weights: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the shapes of a parent's number and of its values among the tensors saved, after the iterations.

        The arguments are the shapes of poses and weights; their sizes may be symbols.
        """
        ...

    def route_em(self, tensors: Sequence[Any], options: EMOptions) -> tuple[Tensor, ...]:
        """Returns the parents' poses [N, J, R, E] and activations [N, J], then the tensors saved for the backward function."""
        ...

    def route_dynamic(self, tensors: Sequence[Any], options: DynamicOptions) -> tuple[Tensor, ...]:
        """Returns the sums of the last iteration [N, J, R*E], then the tensors saved for the backward function."""
        ...

    def route_em_backward(
        self, tensors: Sequence[Any], options: EMOptions, saved: Sequence[Tensor], upstream: Sequence[Tensor],
        *, last_only: bool, wanted: Wanted,
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        """Returns the gradients of the tensors, [N, I, R, E] for the offset, from those of the outputs; None if not wanted.

        With ``last_only`` the shares are constants, and only the last iteration carries a gradient.
        """
        ...

    def route_dynamic_backward(
        self, tensors: Sequence[Any], options: DynamicOptions, saved: Sequence[Tensor],
        upstream: Sequence[Tensor], *, last_only: bool, wanted: Wanted,
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        """Returns the gradients of the tensors, as `route_em_backward` does."""
        ...


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns the dtype that votes of ``dtype`` are summed in: float32 for float16 and bfloat16, else their own."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Switches autocast off on a device; does nothing where torch has no autocast, as on the meta device."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Returns the tensor, converted to float32 if it has 16 bits."""
    return tensor.to(accumulation_dtype(tensor.dtype))
