"""Backbones: the first stages of a library's CNN, with random weights, in front of a network, which sees their feature maps."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from capsbench.data.images import ImageShape
from capsbench.errors import ArgumentError, Kind, UsageError
from capsbench.networks.base import CapsuleNetwork
from capsbench.networks.factory import make_anywhere
from capsbench.networks.layers import Capsules, Decoder
from capsbench.networks.libraries import from_timm, from_torchvision
from capsbench.sources import libraries
from capsbench_baselines.reduction import count_reductions

FLAG = "backbone"

NONE = "none"
"""The backbone of a network that sees the images themselves."""

SHORTEST = 8
"""A backbone ends at its deepest feature map with at least this many pixels a side, so that convolutions can follow."""


class Backbone(nn.Module):
    """Maps images ``[B, C, H, W]`` to feature maps.

    Args:
        stages: the first stages of a network.
        made: channels, height and width of the feature maps.
        frozen: the weights stay as they were drawn; the statistics of batch norms follow the training images.
    """

    def __init__(self, stages: nn.Module, made: ImageShape, *, frozen: bool = False) -> None:
        super().__init__()
        self.stages = stages.requires_grad_(not frozen)
        self.made = made

    def forward(self, images: Tensor) -> Tensor:
        made = self.stages(images)
        features: Tensor = made[0] if isinstance(made, list) else made
        return features


class CapsulesBehind(CapsuleNetwork):
    """A capsule network behind a backbone; its decoder makes images, not feature maps.

    Raises:
        ArgumentError: the network has a decoder of its own, which would make feature maps.
    """

    def __init__(self, backbone: Backbone, network: CapsuleNetwork, image: ImageShape) -> None:
        super().__init__()
        self.backbone = backbone
        decoder, network.decoder = network.decoder, None
        self.network = network
        self.decoder = None if decoder is None else _make_decoder(decoder, image)

    def capsules(self, images: Tensor) -> Capsules:
        return self.network.capsules(self.backbone(images))


class CNNBehind(nn.Module):
    """A CNN behind a backbone."""

    def __init__(self, backbone: Backbone, network: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.network(self.backbone(images))
        return scores


def put_behind(backbone: Backbone, network: nn.Module, image: ImageShape) -> nn.Module:
    """Returns a network that sees the feature maps of a backbone.

    Args:
        image: the shape of the images.
    """
    if isinstance(network, CapsuleNetwork):
        return CapsulesBehind(backbone, network, image)
    return CNNBehind(backbone, network)


def make_backbone(name: str, image: ImageShape, *, frozen: bool = False) -> Backbone:
    """Returns a backbone by its name, ``timm:resnet18`` or ``torchvision:resnet18``, with random weights.

    Raises:
        UsageError: there is no such network, or it makes no feature maps of these images.
    """
    count, made = _find_stage(name, image)
    return Backbone(_make_stages(name, image, count), made, frozen=frozen)


def find_seen(name: str, image: ImageShape) -> ImageShape:
    """Returns the shape that a network behind a backbone sees: that of the feature maps, or of the images if there is none."""
    return image if name == NONE else _find_stage(name, image)[1]


@cache
def count_parameters(name: str, image: ImageShape) -> int:
    """Returns the parameters of a backbone; 0 if there is none."""
    if name == NONE:
        return 0
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in make_backbone(name, image).parameters())


@cache
def _find_stage(name: str, image: ImageShape) -> tuple[int, ImageShape]:
    """Returns the stage at which a backbone ends, and the shape of its feature maps."""
    if not libraries.is_network(name):
        expected = f"{NONE}, {' or '.join(f'{scheme}:NAME' for scheme in libraries.SCHEMES)}, such as timm:resnet18"
        raise UsageError(Kind.INVALID, flag=FLAG, expected=expected, value=name)
    with torch.device("meta"), torch.no_grad():
        try:
            shapes = _MAPS[name.partition(":")[0]](libraries.name_of(name), image)
        except UsageError as error:
            error.flag = FLAG
            raise
        except (ArithmeticError, AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            shapes = []
    deep = [(place, shape) for place, shape in enumerate(shapes, start=1) if min(shape[1:]) >= SHORTEST]
    if not deep:
        problem = f"makes no feature maps of {SHORTEST}x{SHORTEST} or more of images of {image.height}x{image.width}"
        larger = "give larger images"
        expected = larger if shapes else f"name a CNN with stages, such as timm:resnet18, or {larger}"
        raise UsageError(Kind.CONFLICT, problem, flag=FLAG, value=name, expected=expected)
    return deep[-1]


def _make_stages(name: str, image: ImageShape, count: int) -> nn.Module:
    network = libraries.name_of(name)
    if name.startswith("timm:"):
        return make_anywhere(lambda: _make_timm(network, image, out_indices=(count - 1,)))
    return nn.Sequential(*[*_chain_stages(network, image)][:count])


def _make_timm(name: str, image: ImageShape, **options: Any) -> nn.Module:
    from_timm(name)  # refuses an unknown name
    import timm

    network: nn.Module = timm.create_model(
        name, pretrained=False, features_only=True, in_chans=image.channels, **options
    )
    return network


def _map_timm(name: str, image: ImageShape) -> list[ImageShape]:
    """Returns the shapes of the feature maps of a network of timm, one a stage."""
    network: Any = make_anywhere(lambda: _make_timm(name, image)).eval()
    maps = network(torch.empty(1, *image))
    if [made.shape[1] for made in maps] != network.feature_info.channels():
        return []  # the channels are elsewhere, as in transformers
    return [ImageShape(*made.shape[1:]) for made in maps]


def _map_torchvision(name: str, image: ImageShape) -> list[ImageShape]:
    """Returns the shapes of what the layers of a network of torchvision make, one a layer."""
    made, shapes = torch.empty(1, *image), []
    for stage in _chain_stages(name, image).eval():
        made = stage(made)
        shapes.append(ImageShape(*made.shape[1:]))
    return shapes


def _chain_stages(name: str, image: ImageShape) -> nn.Sequential:
    chain = make_anywhere(lambda: nn.Sequential(*_list_stages(name, image)))
    assert isinstance(chain, nn.Sequential)
    return chain


def _list_stages(name: str, image: ImageShape) -> list[nn.Module]:
    """Returns the layers of a network of torchvision in front of its classifier; none if they are not a chain."""
    network: Any = from_torchvision(name).make(image, 2)
    if name.startswith("swin"):
        return []  # a transformer, with the channels last
    if isinstance(getattr(network, "features", None), nn.Sequential):
        return list(network.features)
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    if all(hasattr(network, layer) for layer in names):
        return [getattr(network, layer) for layer in names]
    return [network.stem, *network.trunk_output] if hasattr(network, "trunk_output") else []


_MAPS: dict[str, Callable[[str, ImageShape], list[ImageShape]]] = {"timm": _map_timm, "torchvision": _map_torchvision}


def _make_decoder(decoder: nn.Module, image: ImageShape) -> Decoder:
    """Returns a decoder with the widths of another one, that makes images of a shape."""
    if type(decoder) is not Decoder:
        raise ArgumentError("reconstruction", "no behind a backbone: its decoder would make feature maps", True)
    first, _, second, *_ = decoder.layers
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    return Decoder(first.in_features, image, (first.out_features, second.out_features), count_reductions(image))
