"""A control for the transforming auto-encoder: the same task and parameter count, but no capsules."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from capsbench.data.images import ImageShape
from capsbench.networks.transforming_autoencoder import TransformingAutoencoder, TransformingNetwork


class ConditionalAutoencoder(TransformingNetwork):
    """A control for the transforming auto-encoder, of the same size: no capsules, and the transformation is another input.

    Two layers of logistic units of the same width are followed by the pixels. The inputs of the second layer are the first layer
    and the numbers of the transformation, whose meaning it has to learn. The options are those of `TransformingAutoencoder`. The
    width is chosen to match the parameter count of a `TransformingAutoencoder` with the same options.
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
            matched = TransformingAutoencoder(
                image,
                classes,
                transform=transform,
                capsules=capsules,
                recognition=recognition,
                generation=generation,
                pixels=pixels,
            )
        parameters = sum(parameter.numel() for parameter in matched.parameters())
        values, numbers = math.prod(image), math.prod(self.pairs.pose)
        # The width solves width^2 + (2 values + numbers + 2) width + values = parameters.
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
        transforms = self.pairs.make_identity(images) if transforms is None else transforms
        inputs = torch.cat([self.recognition(images), transforms.flatten(1)], dim=1)
        outputs: Tensor = self.generation(inputs)
        return outputs
