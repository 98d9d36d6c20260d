"""The corruptions of published benchmarks, applied to test images."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from capsbench.data.images import ImageShape
from capsbench.measures.corruption import cifar10_c, mnist_c
from capsbench.measures.corruption.filters import WHITE, Image

CORRUPTION_SEED = 5
"""The seed of the corruptions, the same in every experiment."""


class Benchmark(NamedTuple):
    """The corruptions of a published benchmark, and the levels of their rows: the severities, or None where there is one."""

    names: Iterable[str]
    severities: tuple[int | None, ...]
    corrupt: Callable[[Image, str, int, np.random.RandomState], Image]


BENCHMARKS: dict[ImageShape, Benchmark] = {
    ImageShape(3, cifar10_c.SIDE, cifar10_c.SIDE): Benchmark(
        cifar10_c.CORRUPTIONS, (1, 2, 3, 4, 5), cifar10_c.corrupt_image
    ),
    ImageShape(1, mnist_c.SIDE, mnist_c.SIDE): Benchmark(mnist_c.CORRUPTIONS, (None,), mnist_c.corrupt_image),
}
"""Shape of an image -> the benchmark whose corruptions are made for it."""


def corrupt_images(benchmark: Benchmark, pixels: Image, places: list[int], name: str, severity: int) -> Image:
    """Corrupts images ``[N, H, W]`` or ``[N, H, W, C]``, each with random numbers of its own place in the test set."""
    stream = zlib.crc32(name.encode())
    return np.stack(
        [
            benchmark.corrupt(image, name, severity, np.random.RandomState([CORRUPTION_SEED, stream, severity, place]))
            for image, place in zip(pixels, places, strict=True)
        ]
    )


def to_pixels(images: Tensor) -> Image:
    """Converts ``[N, C, H, W]`` to ``[N, H, W, 3]`` or, grey, ``[N, H, W]``, at 256 levels as published images have."""
    levels = images.double().mul(WHITE).round().div(WHITE).cpu().numpy()
    return levels[:, 0] if levels.shape[1] == 1 else np.moveaxis(levels, 1, 3)


def from_pixels(pixels: Image) -> Tensor:
    """Converts back to ``[N, C, H, W]``."""
    return torch.from_numpy(pixels[:, np.newaxis] if pixels.ndim == 3 else np.moveaxis(pixels, 3, 1).copy())
