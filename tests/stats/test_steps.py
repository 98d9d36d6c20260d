"""The step of numbers, from the numbers alone."""

from __future__ import annotations

import numpy as np
import pytest

from capsbench.stats.steps import MOST_IMAGES, step_of


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


@pytest.mark.parametrize("images", [30, 100, 360, 500, 10_000])
@pytest.mark.parametrize("left", [False, True], ids=["shares", "what they leave of 1"])
def test_shares_that_passed_through_float32_have_one_too(images: int, left: bool) -> None:
    shares = [float(np.float32(count / images)) for count in (images // 2 + 1, images - 2, images - 1)]
    assert step_of([1 - share for share in shares] if left else shares) == 1 / images


@pytest.mark.parametrize(("images", "step"), [(MOST_IMAGES, 1 / MOST_IMAGES), (MOST_IMAGES + 1, 0)])
def test_shares_of_more_images_than_are_looked_for_have_none(images: int, step: float) -> None:
    assert step_of([count / images for count in (1, images // 2 + 1, images - 2)]) == step


def test_other_numbers_in_float32_have_none() -> None:
    assert step_of(np.random.default_rng(0).random(5, dtype=np.float32)) < 1e-4


@pytest.mark.parametrize(
    ("numbers", "known", "images"),
    [
        ([0.8, 0.8, 0.8], [20], 20),
        ([0.8, 0.85, 0.9], [20, 40], 20),
        ([0.8, 0.825, 0.9], [20, 40], 40),
        ([0.82, 0.82, 0.82], [20, 40], 100),  # shares of neither
        ([0.5] * 3, [500], 500),
    ],
)
def test_counts_of_images_that_are_known_are_not_guessed(numbers: list[float], known: list[int], images: int) -> None:
    assert step_of(numbers, known) == 1 / images
