"""The networks for images that torchvision and timm have, with random weights: nothing is downloaded."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

from capsbench.data.images import ImageShape
from capsbench.errors import ArgumentError, Kind, UsageError
from capsbench.networks.factory import Factory, make_anywhere
from capsbench.sources.foreign import import_package

LARGEST = 1024
"""The largest side that is tried to find the images that a network takes."""


def from_torchvision(name: str) -> LibraryNetwork:
    """Returns the network of torchvision.models with this name, with random weights."""
    from torchvision import models

    _check_name("torchvision", name, models.list_models(module=models))
    has_side = name.startswith("vit_") or name == "maxvit_t"

    def make(image: ImageShape, classes: int) -> nn.Module:
        extra: dict[str, Any] = {}
        if name in ("googlenet", "inception_v3"):  # second classifiers, whose loss is a recipe of its own
            extra = dict(aux_logits=False, init_weights=True)
        elif name == "maxvit_t":
            extra = dict(input_size=image[1:])
        elif has_side:
            if image.height != image.width:
                raise ValueError("it takes square images only")
            extra = dict(image_size=image.height)
        network = models.get_model(name, weights=None, num_classes=classes, **extra)
        return network if image.channels == 3 else _replace_first_convolution(network, image.channels)

    return LibraryNetwork(make, by_side=has_side)


def from_timm(name: str) -> LibraryNetwork:
    """Returns the network of timm with this name, with random weights."""
    try:
        timm = import_package("timm")
    except ModuleNotFoundError as error:
        remedy = "pip install 'capsbench[timm]'"
        raise UsageError(
            Kind.MISSING, "timm is not installed", flag="network", value=f"timm:{name}", expected=remedy
        ) from error
    _check_name("timm", name, timm.list_models())
    config = timm.get_pretrained_cfg(name)
    has_side = config is not None and bool(config.fixed_input_size)

    def make(image: ImageShape, classes: int) -> nn.Module:
        extra: dict[str, Any] = dict(img_size=tuple(image[1:])) if has_side else {}
        return timm.create_model(name, pretrained=False, num_classes=classes, in_chans=image.channels, **extra)

    return LibraryNetwork(make, by_side=has_side)


class LibraryNetwork(Factory):
    """A network of a library for images of a shape and a number of classes.

    Args:
        make: a function (image, classes) -> the untrained network.
        by_side: true if the network is built for one side of images, as most transformers are.
    """

    def __init__(self, make: Callable[[ImageShape, int], nn.Module], *, by_side: bool) -> None:
        super().__init__(make)
        self.by_side = by_side
        default = inspect.Parameter("pretrained", inspect.Parameter.KEYWORD_ONLY, default=False)
        self.__signature__ = inspect.Signature([default])

    def __call__(self, image: Any, classes: int, **options: Any) -> nn.Module:
        """Makes the network with random weights; its only option is ``pretrained``, which is false.

        Raises:
            ArgumentError: ``pretrained`` is true.
            ValueError: the network cannot take images of this shape; the message names the smallest that it takes.
        """
        if options.get("pretrained"):
            raise ArgumentError("pretrained", "false: nothing is downloaded", True)
        image = ImageShape(*image)
        if torch.get_default_device().type != "meta":
            return self.make(image, classes)
        if (network := self._try_image(image, classes)) is None:
            raise ValueError(self._describe_least(image, classes))
        return network

    def _try_image(self, image: ImageShape, classes: int, network: nn.Module | None = None) -> nn.Module | None:
        """Returns the network, on the meta device, if images of this shape pass through it; else None.

        Args:
            network: one that takes images of any side, to try.
        """
        try:
            network = make_anywhere(lambda: self.make(image, classes)) if network is None else network
            training = network.training
            with torch.no_grad():
                network.eval()(torch.empty(1, *image, device="meta"))
        except (ArithmeticError, AssertionError, IndexError, RuntimeError, TypeError, ValueError):
            return None
        return network.train(training)

    def _describe_least(self, image: ImageShape, classes: int) -> str:
        """Returns the smallest square images that the network takes, above a shape that it does not, as a sentence."""
        small = min(image[1:])
        network = None if self.by_side else make_anywhere(lambda: self.make(image, classes))

        def fits(side: int) -> bool:
            return self._try_image(ImageShape(image.channels, side, side), classes, network) is not None

        if self.by_side:  # the sides that fit are multiples of a patch
            sides = [*range(small + 1, small + 65), *range(32 * (small // 32 + 3), LARGEST + 1, 32)]
            least = next(filter(fits, sides), None)
        else:
            least = _find_threshold(fits, small)
        actual = f"{image.height}x{image.width}"
        if least is None:
            return f"it cannot take images of {actual}, nor square ones up to {LARGEST}x{LARGEST}"
        return f"it takes images of {least}x{least} pixels or more, these have {actual}"


def _find_threshold(fits: Callable[[int], bool], small: int) -> int | None:
    """Returns the smallest side above ``small`` that fits, if all larger ones do too."""
    above = small + 1
    while not fits(above):
        small, above = above, 2 * above
        if above > 2 * LARGEST:
            return None
    while above - small > 1:
        middle = (small + above) // 2
        small, above = (small, middle) if fits(middle) else (middle, above)
    return above


def _check_name(library: str, name: str, known: list[str]) -> None:
    if name not in known:
        near = [f"{library}:{other}" for other in _find_near(name, tuple(known))]
        expected = (
            f"nearest: {', '.join(near)}" if near else f"a network for images that {library} has, such as resnet18"
        )
        raise UsageError(Kind.UNKNOWN, flag="network", value=f"{library}:{name}", expected=expected)


@cache
def _find_near(name: str, known: tuple[str, ...]) -> list[str]:
    import difflib

    return difflib.get_close_matches(name, known, n=3, cutoff=0.5)


def _replace_first_convolution(network: nn.Module, channels: int) -> nn.Module:
    """Replaces the first convolution, which sees colour images, by one for some other number of channels.

    The new weights are normal with the standard deviation of the old ones. All else of the network stays.
    """
    path, old = next((path, module) for path, module in network.named_modules() if isinstance(module, nn.Conv2d))
    new_convolution: Any = nn.Conv2d  # the attributes of one have wider types than the arguments of the other
    new = new_convolution(
        channels, old.out_channels, old.kernel_size, old.stride, old.padding, old.dilation, bias=old.bias is not None
    )
    with torch.no_grad():
        new.weight.normal_().mul_(old.weight.std())
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    parent, _, attribute = path.rpartition(".")
    setattr(network.get_submodule(parent), attribute, new)
    return network
