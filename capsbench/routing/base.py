"""What every routing is: a module from child capsules to parent capsules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor

from capsbench.component import Component
from capsbench.errors import check_choice
from capsbench_kernels import BACKENDS, Moments, Parents, at_least_float32, choose_backend, vote_pass


class LayerShape(NamedTuple):
    """What a capsule layer tells the routing that it makes for itself.

    - ``transforms``: children with transformation matrices of their own; fewer than I where positions share them, and then the
      children of a position follow each other
    - ``rows``, ``depth``: R and D, of a child pose
    - ``columns``: E, of a vote; 0 where the parents have no poses
    - ``classes``: whether the parents are the class capsules
    """

    transforms: int
    rows: int
    depth: int
    columns: int
    classes: bool


class Routing(Component, ABC):
    """Base class of a routing between one layer of capsules and the next; a capsule layer builds one for itself.

    To make your own, subclass it, write `forward` as a loop of ``self.vote_pass(...)`` and name it on the command line:
    ``--routing my_package.my_module:MyRouting``. Arguments of its ``__init__`` that default to a number, a string or a
    truth value become options: ``--axis temperature=0.5,1``.

    Args:
        children: child capsules that one routing problem sees (I).
        parents: parent capsules (J).
        iterations: how often the children are shared out anew, 1 or more.
        backend: the implementation of the vote pass, see `capsbench_kernels.choose_backend`.
    """

    network = "capsnet"
    """The network this routing runs in when the user names none."""

    separate_activations = False
    """Whether capsules carry an activation of their own (True), or the length of the pose is the activation (False)."""

    across_windows = False
    """Whether, between convolutional capsules, ``forward`` wants the `capsbench.routing.windows.Windows` too, as ``windows``."""

    iterative = True
    """Whether ``iterations`` means anything to it."""

    activations_need_votes = True
    """Whether activations of parents depend on the votes; where not, class capsules have poses only if something reads them."""

    continues = False
    """Whether ``forward`` takes ``parents``, poses to go on from, and ``steps``, iterations to make, for concurrent routing."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    """Options that take another value than their default at a network size, such as ``{"tiny": {"temperature": 2.0}}``.

    ``"network.NAME"`` is an option of the network, where it has one of that name.
    """

    def __init__(self, children: int, parents: int, *, iterations: int = 3, backend: str = "auto") -> None:
        super().__init__()
        self.child_count = children
        self.parent_count = parents
        self.iterations = iterations
        check_choice("backend", backend, ("auto", *BACKENDS))
        self.backend = backend

    def prepare(self, layer: LayerShape) -> None:
        """Makes the parameters that depend on the shape of the poses; the capsule layer calls it once. Most have none."""

    def __call__(
        self, poses: Tensor, weights: Tensor, activations: Tensor, offset: Tensor | None = None, **further: Any
    ) -> tuple[Tensor, Tensor]:
        """Calls `forward`, which sees no dtype narrower than float32: bfloat16 and float16 capsules are routed in float32.

        Parent poses and activations are then float32. A routing's own parameters stay in float32, or are all of float64.
        """
        poses, weights, activations = (at_least_float32(each) for each in (poses, weights, activations))
        offset = None if offset is None else at_least_float32(offset)
        routed: tuple[Tensor, Tensor] = super().__call__(poses, weights, activations, offset, **further)
        return routed

    @abstractmethod
    def forward(
        self, poses: Tensor, weights: Tensor, activations: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Routes N independent problems.

        Args:
            poses: child poses ``[N, I, R, D]``.
            weights: transformation matrices ``[I, J, D, E]``.
            activations: child activations ``[N, I]``.
            offset: added to the votes, ``[N or 1, I, R, E]``, or None.

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
        """`capsbench_kernels.vote_pass` on this routing's backend."""
        return vote_pass(
            poses, weights, parents, activations, offset, backend=self.backend, log_normaliser=log_normaliser
        )

    def backend_on(self, device: str) -> str:
        """The implementation that passes over tensors of this device go through."""
        return choose_backend(self.backend, device)

    def extra_repr(self) -> str:
        return f"{self.child_count} -> {self.parent_count}, iterations={self.iterations}, backend={self.backend}"


def transforms_of(sigma: float) -> dict[str, dict[str, Any]]:
    """`Routing.presets` that draw the transformation matrices of every network from N(0, sigma^2)."""
    return {size: {"network.transform_sigma": sigma} for size in ("tiny", "small", "paper")}


class RoutingFactory(Protocol):
    """Makes the routing of one layer; a network gets one and calls it for each of its capsule layers."""

    separate_activations: bool

    def __call__(self, children: int, parents: int) -> Routing: ...
