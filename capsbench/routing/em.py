"""EM routing (Hinton, Sabour, Frosst 2018)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from capsbench.errors import check_choice
from capsbench.routing.base import LayerShape, Routing, transforms_of
from capsbench.routing.windows import Windows
from capsbench_kernels import em_routing

_SMALL = {
    "inverse_temperature": 0.05,
    "annealing": 0.1,
    "network.transform_init": "preserving",
}


SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "authors": lambda t, iterations: 1 - 0.95 ** (t + 1),
    "constant": lambda t, iterations: 1.0,
    "linear": lambda t, iterations: 1 + (min(iterations, 3) - 1) * t / max(1, iterations - 1),
}
"""Name -> the inverse temperature at iteration t of T, in units of its scale."""


class EMRouting(Routing):
    """EM routing, Procedure 1 of Hinton, Sabour and Frosst 2018.

    The paper leaves its temperature schedule and the scale of the cost open; the defaults are those of the authors, as
    Gritzman 2019 reports them, and his mass scale, without which layers of different fan-in see different temperatures.

    Args:
        inverse_temperature: lambda, the scale of the schedule.
        temperature_schedule: of the inverse temperature over the iterations t = 0, 1, ..., T - 1. ``authors``: ``lambda (1 -
            0.95^(t+1))`` (as Gritzman 2019 reports it); ``constant``: ``lambda`` (a public implementation that reaches 99.1 % on
            MNIST has 0.001); ``linear``: from ``lambda`` to ``lambda min(T, 3)`` (a widely copied TensorFlow one, with 1).
        class_temperature: multiplies the inverse temperature of the class capsules; the authors' code has 0.25.
        mass: the mass that an average parent's cost is scaled to; 0 leaves the mass as it is (the paper's text).
        variance_epsilon: added to each variance, in units of a vote squared.
        annealing: the power of the E-step's shares (`capsbench_kernels.em_routing`); 1 is the paper's.
        normalise: whether the E-step shares a child of convolutional capsules among the parents of each ``window`` anew, as
            most implementations do, or once among ``all`` parents that see it (Gritzman 2019).
        gradient: ``all`` iterations carry gradients, or only the ``last``.

    At ``tiny`` and ``small`` the defaults give way to `presets`: with few types a sharp E-step leaves a parent one or two
    children of no variance, and three iterations then stay at chance (docs/em-routing.md has the measurements).
    """

    network = "matrix-capsules"
    separate_activations = True
    presets = {  # Gritzman's sigma: the variance of the votes is compared with variance_epsilon
        size: preset if size == "paper" else preset | _SMALL for size, preset in transforms_of(sigma=1.0).items()
    }

    def __init__(
        self,
        children: int,
        parents: int,
        *,
        iterations: int = 2,
        backend: str = "auto",
        inverse_temperature: float = 0.01,
        temperature_schedule: str = "authors",
        class_temperature: float = 1.0,
        mass: float = 100.0,
        variance_epsilon: float = 5e-4,
        annealing: float = 1.0,
        normalise: str = "window",
        gradient: str = "all",
    ) -> None:
        super().__init__(children, parents, iterations=iterations, backend=backend)
        check_choice("temperature_schedule", temperature_schedule, tuple(SCHEDULES))
        check_choice("normalise", normalise, ("window", "all"))
        check_choice("gradient", gradient, ("all", "last"))
        schedule = SCHEDULES[temperature_schedule]
        self.inverse_temperature = [inverse_temperature * schedule(t, iterations) for t in range(iterations)]
        self.class_temperature = class_temperature
        self.mass_scale = mass * parents / children if mass else 1.0
        self.variance_epsilon = variance_epsilon
        self.annealing = annealing
        self.across_windows = normalise == "all"
        self.gradient = gradient
        self.beta_a = nn.Parameter(torch.zeros(parents))
        self.beta_u = nn.Parameter(torch.zeros(parents))

    def prepare(self, layer: LayerShape) -> None:
        if layer.classes:
            self.inverse_temperature = [self.class_temperature * value for value in self.inverse_temperature]

    def forward(
        self,
        poses: Tensor,
        weights: Tensor,
        activations: Tensor,
        offset: Tensor | None = None,
        windows: Windows | None = None,
    ) -> tuple[Tensor, Tensor]:
        return em_routing(
            poses,
            weights,
            activations,
            self.beta_a,
            self.beta_u,
            self.iterations,
            inverse_temperature=self.inverse_temperature,
            offset=offset,
            variance_epsilon=self.variance_epsilon,
            mass_scale=self.mass_scale,
            annealing=self.annealing,
            normaliser=None if windows is None else windows.log_sum_exp,
            gradient=self.gradient,
            backend=self.backend,
        )
