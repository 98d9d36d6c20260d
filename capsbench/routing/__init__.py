"""Routing algorithms, one file each, over the vote pass of `capsbench_kernels`."""

from capsbench.routing.base import Routing, RoutingFactory
from capsbench.routing.dynamic import DynamicRouting
from capsbench.routing.em import EMRouting
from capsbench.routing.uniform import UniformRouting

__all__ = ["DynamicRouting", "EMRouting", "Routing", "RoutingFactory", "UniformRouting"]
