"""Builds the network of a Cell, and counts its parameters and operations."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from capsbench.records.cell import Cell
from capsbench.records.parts import Parts
from capsbench.routing.base import Routing

FIELD_ARGUMENTS = ("reconstruction", "iterations", "backend")
"""The arguments of networks and routings that fields of the Cell set; the others with a default are options."""


class LayerRouting:
    """The `RoutingFactory` of a cell, which builds each layer's routing with the cell's iterations and options."""

    def __init__(self, routing: type[Routing], cell: Cell) -> None:
        self.routing = routing
        self.separate_activations = self.routing.separate_activations
        self.arguments: dict[str, Any] = {
            "iterations": cell.iterations,
            "backend": cell.backend,
            **cell.component_options("routing"),
        }

    def __call__(self, children: int, parents: int) -> Routing:
        return self.routing(children, parents, **self.arguments)


def build_network(cell: Cell, device: str | None = None) -> nn.Module:
    """Builds the untrained network of a cell, with weights drawn from torch's current random state.

    Args:
        device: the device of the weights, the cell's if None; ``meta`` builds shapes without weights.
    """
    parts = Parts.from_cell(cell)
    dataset, network_class = parts.dataset.component, parts.network.component
    options: dict[str, Any] = cell.component_options("network")
    with torch.device(device or cell.device):
        if parts.routing is None:
            network = network_class(dataset.image, dataset.classes, **options)
        else:
            routing = LayerRouting(parts.routing.component, cell)
            network = network_class(
                dataset.image, dataset.classes, routing, reconstruction=cell.reconstruction, **options
            )
    if cell.channels_last:  # only convolutions: transformation matrices have four dimensions too, but no channels
        nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
    return network.to(dtype=parameter_dtype(cell))


def parameter_dtype(cell: Cell) -> torch.dtype:
    """Returns the dtype of a cell's parameters and images; with mixed precision both stay in float32."""
    return torch.float64 if cell.precision == "float64" else torch.float32


def parameter_count(cell: Cell) -> int:
    """Counts the parameters of a cell's network, including its decoder."""
    return count_parameters(build_network(cell, device="meta"))


def count_parameters(network: nn.Module) -> int:
    """Counts the parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def forward_flops(cell: Cell) -> int:
    """Counts the floating-point operations of a forward pass of one image through the CNN of a cell, without computing it."""
    network = build_network(cell, device="meta").eval()
    image = torch.empty(1, *Parts.from_cell(cell).dataset.component.image, dtype=parameter_dtype(cell), device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    return counter.get_total_flops()
