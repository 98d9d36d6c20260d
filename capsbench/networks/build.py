"""Builds the network of a Cell, and counts its parameters and operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from capsbench.component import check_initialised
from capsbench.data.base import Dataset
from capsbench.data.images import ImageShape
from capsbench.networks import backbones
from capsbench.networks.backbones import NONE, Backbone, make_backbone, put_behind
from capsbench.records.cell import Cell
from capsbench.records.parts import Parts, dataset_of
from capsbench.routing.base import Routing

FIELD_ARGUMENTS = ("reconstruction", "iterations", "backend")
"""The arguments of networks and routings that fields of the Cell set; the others with a default are options."""

_parameter_counts: dict[tuple[object, ...], int] = {}
"""What a network is built from -> its parameters. A plan asks for them again and again, and building takes milliseconds."""


class _ShapesOnly(TorchFunctionMode):
    """Makes shapes of what initial weights are computed from, on the meta device.

    For these operations torch would import its compiler, which takes almost as long as to import torch.
    """

    SAME_SHAPE = (Tensor.normal_, Tensor.mul_, Tensor.add_)
    ELEMENTWISE = (Tensor.add, Tensor.sub, Tensor.mul, Tensor.div)

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function is torch.randn:
            return torch.empty(*args, **kwargs)
        if args and isinstance(args[0], Tensor) and args[0].is_meta:
            if function in self.SAME_SHAPE:
                return args[0]
            if function in self.ELEMENTWISE:
                shapes = [value.shape for value in args if isinstance(value, Tensor)]
                return torch.empty(np.broadcast_shapes(*shapes), dtype=torch.result_type(*args[:2]))
        return function(*args, **kwargs)


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
        return check_initialised(self.routing(children, parents, **self.arguments))


def build_network(cell: Cell, device: str | None = None, dataset: Dataset | None = None) -> nn.Module:
    """Builds the untrained network of a cell, with weights drawn from torch's current random state.

    Args:
        device: the device of the weights, the cell's if None; ``meta`` builds shapes without weights.
        dataset: what the cell's data set declares, where its images are not here.
    """
    parts = Parts.from_cell(cell)
    dataset, network_class = dataset or parts.data, parts.network.component
    options: dict[str, Any] = cell.component_options("network")
    with torch.device(device or cell.device), _ShapesOnly() if device == "meta" else nullcontext():
        backbone = _make_backbone(cell, dataset.image)
        image = dataset.image if backbone is None else backbone.made
        if parts.routing is None:
            network = network_class(image, dataset.classes, **options)
        else:
            routing = LayerRouting(parts.routing.component, cell)
            network = network_class(image, dataset.classes, routing, reconstruction=cell.reconstruction, **options)
        if backbone is not None:
            network = put_behind(backbone, network, dataset.image)
    if cell.channels_last:  # only convolutions: transformation matrices have four dimensions too, but no channels
        nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 1:
            module.register_forward_pre_hook(_view_channels_last)
    return network.to(dtype=parameter_dtype(cell))


def _make_backbone(cell: Cell, image: ImageShape) -> Backbone | None:
    return None if cell.backbone == NONE else make_backbone(cell.backbone, image, frozen=cell.freeze_backbone)


def _view_channels_last(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Views grey images ``[B, 1, H, W]`` on a CPU as images with the channels last, the same numbers in the same memory.

    oneDNN then convolves them in a half to a third of the time. Strides say which of the two it is, and those of shifted images
    for training and of test images would differ.
    """
    images = inputs[0]
    return (images.squeeze(1).unsqueeze(3).movedim(3, 1), *inputs[1:]) if images.is_cpu else inputs


def parameter_dtype(cell: Cell) -> torch.dtype:
    """Returns the dtype of a cell's parameters and images; with mixed precision both stay in float32."""
    return torch.float64 if cell.precision == "float64" else torch.float32


def parameter_count(cell: Cell) -> int:
    """Counts the parameters of a cell's network, including its decoder; raises what building it does."""
    # Options and digests of code in a tuple each; the fields are those that `build_network` reads.
    # A folder of images may have changed since a cell of its name was counted.
    dataset = dataset_of(cell)
    parts = dataset.image, dataset.classes, cell.network, cell.routing, *cell.options.items(), *cell.code.items()
    fields = *(getattr(cell, name) for name in FIELD_ARGUMENTS), cell.precision, cell.channels_last, cell.backbone
    network = *parts, *fields
    if network not in _parameter_counts:
        _parameter_counts[network] = count_parameters(build_network(cell, device="meta"))
    return _parameter_counts[network]


def head_count(cell: Cell) -> int:
    """Counts the parameters of a cell's network without its backbone."""
    return parameter_count(cell) - backbones.count_parameters(cell.backbone, dataset_of(cell).image)


def count_parameters(network: nn.Module) -> int:
    """Counts the parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def forward_flops(cell: Cell) -> int:
    """Counts the floating-point operations of a forward pass of one image through the CNN of a cell, without computing it."""
    from torch.utils.flop_counter import FlopCounterMode

    network = build_network(cell, device="meta").eval()
    image = torch.empty(1, *dataset_of(cell).image, dtype=parameter_dtype(cell), device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    return counter.get_total_flops()
