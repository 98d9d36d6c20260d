"""The base class of routings: modules that map child capsules to parent capsules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor

from capsbench.component import Component
from capsbench.errors import check_choice
from capsbench_kernels import BACKENDS, Moments, Parents, at_least_float32, choose_backend, vote_pass


class LayerShape(NamedTuple):
    """The shape of a capsule layer, which the layer passes to its routing.

    - ``transforms``: the number of children with their own transformation matrices; fewer than I if positions share the
      matrices, and then the children of one position are adjacent
    - ``rows``, ``depth``: R and D, the shape of a child pose
    - ``columns``: E, the columns of a vote; 0 if the parents have no poses
    - ``classes``: True if the parents are the class capsules
    """

    transforms: int
    rows: int
    depth: int
    columns: int
    classes: bool


VoteAttack = Literal["mean votes", "first iteration"]
"""Method by which the vote attack (Gu, Wu, Tresp 2021) removes a routing, to compute gradients without it:

- ``mean votes``: replaces it by the squashed mean of the votes, whose length is a parent's activation
- ``first iteration``: runs its first iteration only, which divides every child equally
"""


class Routing(Component, ABC):
    """Base class of a routing between two layers of capsules; each capsule layer builds its own instance.

    To add a routing, subclass this class, write `forward` as a loop over ``self.vote_pass(...)`` and name the class on the
    command line: ``--routing my_package.my_module:MyRouting``. An argument of ``__init__`` whose default is a number, a string
    or a boolean becomes an option: ``--axis temperature=0.5,1``.

    Args:
        children: the number of child capsules in one routing problem (I).
        parents: the number of parent capsules (J).
        iterations: the number of routing iterations, at least 1.
        backend: the implementation of the vote pass, see `capsbench_kernels.choose_backend`.
    """

    network = "capsnet"
    """The default network of this routing, for when the user names none."""

    separate_activations = False
    """True if each capsule has a separate activation; False if the length of the pose is the activation."""

    across_windows = False
    """True if ``forward`` also takes ``windows``, the `capsbench.routing.windows.Windows` of a convolutional capsule layer."""

    iterative = True
    """True if the routing uses ``iterations``."""

    activations_need_votes = True
    """True if parent activations depend on the votes; if False, class capsules have poses only if a decoder reads them."""

    exclusive = False
    """True if the activations of all parents add up to 1, so that they cannot show several classes at once, or none."""

    continues = False
    """True if ``forward`` takes ``parents`` (initial poses) and ``steps`` (the number of iterations), for concurrent routing."""

    vote_attack: ClassVar[VoteAttack | None] = "first iteration"
    """Method by which the vote attack removes this routing; None if it cannot. ``first iteration`` needs an iterative routing."""

    squash = "sabour"
    """The squash (`capsbench_kernels.squash`) of the mean vote that replaces this routing in the vote attack."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    """Defaults that depend on the network size, such as ``{"tiny": {"temperature": 2.0}}``.

    ``"network.NAME"`` sets an option of the network, if the network has an option of that name.
    """

    def __init__(self, children: int, parents: int, *, iterations: int = 3, backend: str = "auto") -> None:
        super().__init__()
        self.child_count = children
        self.parent_count = parents
        self.iterations = iterations
        check_choice("backend", backend, ("auto", *BACKENDS))
        self.backend = backend

    def prepare(self, layer: LayerShape) -> None:
        """Creates the parameters whose shape depends on the layer, which calls it once; by default there are none."""

    def __call__(
        self, poses: Tensor, weights: Tensor, activations: Tensor, offset: Tensor | None = None, **extra: Any
    ) -> tuple[Tensor, Tensor]:
        """Calls `forward` with all capsules in float32 or wider: bfloat16 and float16 capsules are routed in float32.

        Parent poses and activations are then float32. The routing's parameters are float32, or all float64.
        """
        # Routing sums many small shares and exponentiates differences, for which a mantissa of 8 or 11 bits is too short.
        # Autograd converts the gradients back to the dtype of the inputs.
        poses, weights, activations = (at_least_float32(tensor) for tensor in (poses, weights, activations))
        offset = None if offset is None else at_least_float32(offset)
        parents: tuple[Tensor, Tensor] = super().__call__(poses, weights, activations, offset, **extra)
        return parents

    @abstractmethod
    def forward(
        self, poses: Tensor, weights: Tensor, activations: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Routes the children of N independent problems to their parents.

        Args:
            poses: child poses ``[N, I, R, D]``.
            weights: transformation matrices ``[I, J, D, E]``.
            activations: child activations ``[N, I]``.
            offset: a term added to the votes, ``[N or 1, I, R, E]``, or None.

        Returns:
            Parent poses ``[N, J, R, E]`` and activations ``[N, J]`` in [0, 1].
        """

    def vote_pass(
        self,
        poses: Tensor,
        weights: Tensor,
        parents: Parents,
        activations: Tensor | None = None,
        offset: Tensor | None = None,
        *,
        log_normaliser: Tensor | None = None,
    ) -> Moments:
        """Calls `capsbench_kernels.vote_pass` with this routing's backend."""
        return vote_pass(
            poses, weights, parents, activations, offset, backend=self.backend, log_normaliser=log_normaliser
        )

    def resolve_backend(self, device: str) -> str:
        """Returns the name of the vote-pass implementation that runs on a device."""
        return choose_backend(self.backend, device)

    def extra_repr(self) -> str:
        return f"{self.child_count} -> {self.parent_count}, iterations={self.iterations}, backend={self.backend}"


def preset_transforms(sigma: float) -> dict[str, dict[str, Any]]:
    """Returns `Routing.presets` that draw the transformation matrices of every network from N(0, sigma^2)."""
    return {size: {"network.transform_sigma": sigma} for size in ("tiny", "small", "paper")}


class RoutingFactory(Protocol):
    """Builds the routing of one layer; a network calls its factory once for each capsule layer."""

    separate_activations: bool

    def __call__(self, children: int, parents: int) -> Routing: ...
