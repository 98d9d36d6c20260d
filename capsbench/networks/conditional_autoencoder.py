"""The control for a transforming auto-encoder: as many parameters, the same task, no capsules."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from capsbench.data.images import ImageShape
from capsbench.networks.transforming_autoencoder import TransformingAutoencoder, TransformingNetwork


class ConditionalAutoencoder(TransformingNetwork):
    """The control for a transforming auto-encoder, of its size: no capsules, the transformation is a further input.

    Two layers of logistic units, as wide as each other, then the pixels. The second layer sees the numbers of the transform
    beside the first layer, and has to find out what they mean. The options are those of `TransformingAutoencoder`; the width is
    the one that comes nearest to the number of parameters that it has with them.
    """

    @classmethod
    def sizes(cls, image: ImageShape) -> dict[str, dict[str, Any]]:
        return TransformingAutoencoder.sizes(image)

    def __init__(
        self,
        image: ImageShape,
        classes: int,
        *,
        transform: str = "shift",
        reach: int = 2,
        capsules: int = 30,
        recognition: int = 10,
        generation: int = 20,
        pixels: str = "linear",
    ) -> None:
        super().__init__(transform, reach)
        with torch.device("meta"):
            beside = TransformingAutoencoder(
                image,
                classes,
                transform=transform,
                capsules=capsules,
                recognition=recognition,
                generation=generation,
                pixels=pixels,
            )
        parameters = sum(parameter.numel() for parameter in beside.parameters())
        values, numbers = math.prod(image), math.prod(self.pairs.pose)
        # width^2 + (2 values + numbers + 2) width + values = parameters
        half = values + 1 + numbers / 2
        width = max(1, round(math.sqrt(half**2 + parameters - values) - half))
        self.recognition = nn.Sequential(nn.Flatten(), nn.Linear(values, width), nn.Sigmoid())
        self.generation = nn.Sequential(
            nn.Linear(width + numbers, width),
            nn.Sigmoid(),
            nn.Linear(width, values),
            nn.Sigmoid() if pixels == "logistic" else nn.Identity(),
            nn.Unflatten(1, image),
        )

    def forward(self, images: Tensor, transforms: Tensor | None = None) -> Tensor:
        transforms = self.pairs.identity(images) if transforms is None else transforms
        seen = torch.cat([self.recognition(images), transforms.flatten(1)], dim=1)
        made: Tensor = self.generation(seen)
        return made
