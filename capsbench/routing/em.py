"""EM routing (Hinton, Sabour, Frosst 2018)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from capsbench.errors import check_choice
from capsbench.routing.base import LayerShape, Routing, preset_transforms
from capsbench.routing.windows import Windows
from capsbench.stats.spaces import Range
from capsbench_kernels import em_routing

# Settings that train with few capsule types; docs/em-routing.md measures the effect of each.
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
"""Maps a schedule's name to its inverse temperature at iteration t of T, as a multiple of ``inverse_temperature``."""


class EMRouting(Routing):
    """EM routing, Procedure 1 of Hinton, Sabour and Frosst 2018.

    The paper specifies neither its temperature schedule nor the scale of its cost. The defaults are the authors' values, as
    Gritzman 2019 reports them, and Gritzman's mass scale: without it, layers of different fan-in have different effective
    temperatures.

    Args:
        inverse_temperature: lambda, which multiplies the schedule.
        temperature_schedule: the inverse temperature at iterations t = 0, 1, ..., T - 1. ``authors``: ``lambda (1 -
            0.95^(t+1))`` (as Gritzman 2019 reports it); ``constant``: ``lambda`` (one public implementation reaches 99.1 % on
            MNIST with 0.001); ``linear``: from ``lambda`` to ``lambda min(T, 3)`` (a widely copied TensorFlow implementation,
            with lambda 1).
        class_temperature: multiplies the inverse temperature of the class capsules; 0.25 in the authors' code.
        mass: the mass of an average parent after scaling, which enters the cost; 0 disables the scaling (the paper's text).
        variance_epsilon: a constant added to each variance, in units of a squared vote.
        annealing: the exponent of the shares in the E-step (`capsbench_kernels.em_routing`); 1 in the paper.
        normalise: the parents among which the E-step divides a child of convolutional capsules: those of each ``window``
            separately, as most implementations do, or ``all`` parents that see the child (Gritzman 2019).
        gradient: the iterations that are differentiated: ``all`` or only the ``last``.

    At sizes ``tiny`` and ``small``, `presets` override the defaults. With few capsule types, a sharp E-step leaves some parents
    with one or two children and no variance, and accuracy then stays at chance with three iterations (docs/em-routing.md
    reports the measurements).
    """

    network = "matrix-capsules"
    separate_activations = True
    presets = {  # Gritzman's sigma: the variance of the votes must be large relative to variance_epsilon
        size: preset if size == "paper" else preset | _SMALL for size, preset in preset_transforms(sigma=1.0).items()
    }
    # From the authors' temperature to one at which the E-step is sharp, and from almost no competition to the paper's.
    spaces = {"inverse_temperature": Range(0.005, 0.5), "annealing": Range(0.03, 1.0)}

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
        # Children of one parent on average: children / parents. The scale maps that fan-in to `mass` (Gritzman 2019).
        self.mass_scale = mass * parents / children if mass else 1.0
        self.variance_epsilon = variance_epsilon
        self.annealing = annealing
        self.across_windows = normalise == "all"
        self.gradient = gradient
        # The M-step of Procedure 1: a_j = sigmoid(lambda (beta_a - sum_h cost_h)), cost_h = (beta_u + ln sigma_h) mass_j.
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
            # Without windows, the softmax of the E-step runs over the parents of one problem only.
            normaliser=None if windows is None else windows.log_sum_exp,
            gradient=self.gradient,
            backend=self.backend,
        )
