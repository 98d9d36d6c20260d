"""Tables of networks that are drawn by chance: how many have a difference where there is none, and how many find one that is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, special, stats

from capsbench.stats.differences import ALPHA
from capsbench.stats.variances import half_width, variance_of_seeds, variances_of_images

TABLES = {6: 60_000, 200: 4_000}
"""Numbers in a table -> tables that are drawn: so many that the level of a t-test, 4.7 % after Holm, is surely below 5."""

SEEDS, IMAGES = (3, 5), (100, 500)
AT_ONCE = 2_000
"""Networks that are drawn at once."""

Networks = NDArray[np.int8]
"""``[tables, 1 + numbers, seeds, images]``: which images are right; the first network of each table is the baseline."""


def draw_tables(accuracy: float, drop: float, numbers: int, tables: int) -> Iterator[Networks]:
    """Networks of random skills on images of random difficulties, the others worse than the baseline by a drop.

    A network is right with the chance that its skill less the difficulty has in a logistic model.
    """
    draw = np.random.Generator(np.random.SFC64(round(1000 * accuracy)))
    skills = np.full((numbers + 1, 1, 1), skill_for(accuracy - drop))
    skills[0] = skill_for(accuracy)
    part = AT_ONCE // numbers
    for _ in range(0, tables, part):
        skill = draw.normal(skills, SKILLS, (part, numbers + 1, max(SEEDS), 1)).astype(np.float32)
        difficulty = draw.normal(0, DIFFICULTIES, (part, 1, 1, max(IMAGES))).astype(np.float32)
        chance = draw.random((part, numbers + 1, max(SEEDS), max(IMAGES)), dtype=np.float32)
        yield (chance * (1 + np.exp(difficulty) * np.exp(-skill)) < 1).view(np.int8)


SKILLS, DIFFICULTIES = 0.3, 2.0
"""Standard deviations: of networks trained alike, and of images."""


def skill_for(accuracy: float) -> float:
    """The mean skill of an accuracy, by Gauss and Hermite's quadrature."""
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    spread = math.hypot(SKILLS, DIFFICULTIES)

    def beyond(skill: float) -> float:
        return float(weights @ special.expit(skill + spread * points) / weights.sum()) - accuracy

    return float(optimize.brentq(beyond, -20, 20))


def asterisks(networks: Networks, seeds: int, images: int) -> dict[str, NDArray[np.bool_]]:
    """Test -> which numbers it marks ``[tables, numbers]``, of that many seeds and images.

    Marked is what has an interval at Bonferroni's level clear of 0. That is the first step of Holm's method, which decides
    whether a table has any asterisk; of several true differences Holm's marks more.
    """
    right = networks[:, :, :seeds, :images]
    apart = right[:, 1:] - right[:, :1]
    of_seeds = apart.mean(axis=-1, dtype=float)
    variances = {
        "images": variances_of_images(apart),
        "seeds": (variance_of_seeds(of_seeds, 1 / images, rounded=2),),
    }
    level = ALPHA / apart.shape[1]
    return {test: np.abs(of_seeds.mean(axis=-1)) > half_width(parts, level) for test, parts in variances.items()}


def find_marked(
    accuracy: float, drop: float, numbers: int, tables: int
) -> dict[tuple[str, int, int], NDArray[np.bool_]]:
    """(test, seeds, images) -> which numbers are marked ``[tables, numbers]``."""
    found: dict[tuple[str, int, int], list[NDArray[np.bool_]]] = {}
    for networks in draw_tables(accuracy, drop, numbers, tables):
        for seeds, images in itertools.product(SEEDS, IMAGES):
            for test, marked in asterisks(networks, seeds, images).items():
                found.setdefault((test, seeds, images), []).append(marked)
    return {case: np.concatenate(parts) for case, parts in found.items()}


def upper_limit(tables: NDArray[np.bool_]) -> float:
    """The 95 % upper confidence limit (Clopper and Pearson 1934) of how often something happens."""
    return float(stats.beta.ppf(0.95, tables.sum() + 1, len(tables) - tables.sum()))


@pytest.mark.slow
@pytest.mark.parametrize("numbers", TABLES)
@pytest.mark.parametrize("accuracy", [0.5, 0.9, 0.95, 0.99])
def test_a_table_without_a_difference_seldom_shows_one(accuracy: float, numbers: int) -> None:
    """At most one in twenty has any asterisk. How often differences of 2 and 5 points are marked is printed (``pytest -s``)."""
    alike = find_marked(accuracy, 0.0, numbers, TABLES[numbers])
    power = {drop: find_marked(accuracy, drop, numbers, TABLES[numbers] // 40) for drop in (0.02, 0.05)}
    for case, tables in alike.items():
        shown = ", ".join(f"{100 * drop:g} points {100 * found[case].mean():.1f} %" for drop, found in power.items())
        print(f"{numbers} at {accuracy}, {case}: {100 * tables.any(axis=1).mean():.2f} % of tables; {shown}")
    limits = {case: upper_limit(tables.any(axis=1)) for case, tables in alike.items()}
    assert {case: limit for case, limit in limits.items() if limit > ALPHA} == {}


def test_a_table_of_many_images_seldom_shows_a_difference_either() -> None:
    """Six beside another, on 10,000 images: Satterthwaite's degrees of freedom would show one in a table of seven."""
    draw = np.random.default_rng(3)
    wrong = []
    for _ in range(200):
        difficulty = draw.normal(0, 2, 10_000)
        right = special.expit(draw.normal(5.5, 0.3, (7, 3, 1)) - difficulty) > draw.random((7, 3, 10_000))
        wrong.append(asterisks(right.view(np.int8)[None], 3, 10_000)["images"].any())
    assert np.mean(wrong) < 0.09
