"""Simulated runs that add seeds: how often equal contenders are decided, and how many seeds a true difference takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from capsbench.stats.differences import ALPHA
from capsbench.stats.sequential import LEVELS, LOOKS
from capsbench.stats.variances import critical_value, half_width, variance_of_seeds, variances_of_images

DIFFICULTY_SPREAD = 2.0
"""The standard deviation of the difficulties of images, in a logistic model of what a network gets right."""

Numbers = NDArray[np.float64]


def decide_by_seeds(differences: Numbers, step: float = 0.0) -> NDArray[np.int64]:
    """The look that decides each sequence of differences ``[sequences, seeds]``; the number of looks if none does."""
    decided = np.stack(
        [
            np.abs(seen.mean(axis=1)) > half_width((variance_of_seeds(seen, step, rounded=2),), level)
            for seen, level in ((differences[:, :look], level) for look, level in zip(LOOKS, LEVELS, strict=True))
        ]
    )
    return np.where(decided.any(axis=0), decided.argmax(axis=0), len(LOOKS))


def decide_by_images(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The same, from correct predictions ``[sequences, seeds, images]``."""
    differences = one.astype(np.int8) - other
    decided = np.stack(
        [
            np.abs(seen.mean(axis=(1, 2))) > half_width(variances_of_images(seen), level)
            for seen, level in ((differences[:, :look], level) for look, level in zip(LOOKS, LEVELS, strict=True))
        ]
    )
    return np.where(decided.any(axis=0), decided.argmax(axis=0), len(LOOKS))


def upper_limit(found: NDArray[np.bool_]) -> float:
    """The 95 % upper confidence limit (Clopper and Pearson 1934) of how often something happens."""
    return float(stats.beta.ppf(0.95, found.sum() + 1, len(found) - found.sum()))


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("skill", [3.5, 6.5])
def test_equal_contenders_are_seldom_decided_image_by_image(skill: float, spread: float) -> None:
    """In at most 5 % of runs, at accuracies of about 0.91 and 0.99, and whatever part of the variance is that of the images."""
    draw = np.random.default_rng(round(10 * spread))
    wrong = []
    for _ in range(20):
        difficulty = draw.normal(0, DIFFICULTY_SPREAD, (100, 1, 200)).astype(np.float32)
        one, other = (
            special.expit(draw.normal(skill, spread, (100, LOOKS[-1], 1)).astype(np.float32) - difficulty)
            > draw.random((100, LOOKS[-1], 200), dtype=np.float32)
            for _ in range(2)
        )
        wrong.append(decide_by_images(one, other) < len(LOOKS))
    decided = np.concatenate(wrong)
    print(f"skill {skill}, spread {spread}: {100 * decided.mean():.1f} % of runs")
    assert upper_limit(decided) <= ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("images", [None, 500])
def test_equal_contenders_are_decided_over_seeds_as_often_as_the_level_says(images: int | None) -> None:
    """In 5 % of runs, with and without the rounding to one image."""
    draw = np.random.default_rng(0)
    differences = draw.normal(0, 0.005, (100_000, LOOKS[-1]))
    if images:
        differences = np.rint(differences * images) / images
    wrong = decide_by_seeds(differences, 1 / images if images else 0.0) < len(LOOKS)
    print(f"{100 * wrong.mean():.2f} % of runs")
    assert wrong.mean() <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / len(wrong))
    assert wrong.mean() > 0.9 * ALPHA or images


@pytest.mark.slow
def test_testing_at_each_look_at_the_same_level_decides_too_often() -> None:
    differences = np.random.default_rng(2).standard_normal((20_000, LOOKS[-1]))
    p_values = np.stack([stats.ttest_1samp(differences[:, :look], 0, axis=1).pvalue for look in LOOKS])
    wrong = (p_values < ALPHA).any(axis=0)
    print(f"{100 * wrong.mean():.1f} % of runs")
    assert wrong.mean() > 2.5 * ALPHA


@pytest.mark.slow
def test_it_finds_nearly_as_much_as_a_test_of_all_seeds_with_fewer_of_them() -> None:
    """The effect is the true difference, as a multiple of the standard deviation of the difference of one seed."""
    draw = np.random.default_rng(1)
    seeds_at = np.array([*LOOKS, LOOKS[-1]])
    lines = {}
    for effect in (0.0, 0.5, 0.66, 1.0, 1.5, 2.0, 3.0):
        differences = draw.normal(effect, 1, (20_000, LOOKS[-1]))
        looks = decide_by_seeds(differences)
        t = differences.mean(axis=1) / differences.std(axis=1, ddof=1) * math.sqrt(LOOKS[-1])
        fixed = np.abs(t) > critical_value(LOOKS[-1] - 1)
        lines[effect] = (fixed.mean(), (looks < len(LOOKS)).mean(), seeds_at[looks].mean())
        print(f"{effect}: fixed {100 * lines[effect][0]:.1f} %, sequential {100 * lines[effect][1]:.1f} %, "
              f"{lines[effect][2]:.1f} seeds")  # fmt: skip
    assert all(sequential > fixed - 0.03 for fixed, sequential, _ in lines.values())
    assert lines[0.66][0] == pytest.approx(0.8, abs=0.02)
    assert lines[1.0][2] < 17
    assert lines[2.0][2] < 11
