"""The step of numbers, from the numbers alone."""

from __future__ import annotations

import numpy as np
import pytest

from capsbench.stats.steps import step_of


@pytest.mark.parametrize(
    ("numbers", "images"),
    [
        ([0.80, 0.85, 0.90], 20),
        ([0.81, 0.83, 0.90], 100),
        ([0.982, 0.984, 0.985], 500 * 2),
        ([np.float64(k) / 24_300 for k in (23_000, 23_001, 24_299)], 24_300),
        ([-0.01, 1.03, 0.5], 100),
        ([0.8, 0.8, 0.8], 100),  # of 10 images, or of any other number
        ([0.982, 0.982], 500),
        ([1.0, 1.0], 100),
        ([0.0, 0.0], 100),
    ],
)
def test_shares_of_images_have_the_step_of_one(numbers: list[float], images: int) -> None:
    assert step_of(numbers) == 1 / images


@pytest.mark.parametrize("numbers", [[12.3456789012, 11.1], [28_012.0, 28_100.0], np.random.default_rng(0).random(5)])
def test_times_and_counts_have_none(numbers: list[float]) -> None:
    assert step_of(numbers) == 0
