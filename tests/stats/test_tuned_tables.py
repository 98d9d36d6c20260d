"""Tables of tuned contenders that are drawn by chance: searches, seeds and images.

A setting is a point of the unit cube. A contender's response surface gives the skill of a network trained with it: a paraboloid
with an optimum, a peak and a curvature. A network's own skill deviates from it by its seed. Each image has a difficulty, and a
network is right with the chance that its skill less the difficulty has in a logistic model. A search draws settings at random,
trains a network with each, and takes the one that is most accurate on the validation images.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from capsbench.planning.defaults import STUDIES
from capsbench.planning.defaults import TRIALS as ALL_TRIALS
from capsbench.stats.differences import ALPHA, adjust_by_holm, compare_accuracies, paired_seeds
from capsbench.stats.moderation import moderate_variances
from capsbench.stats.studies import compare_tuned_accuracies, compare_tuned_numbers

TRIALS = ALL_TRIALS // STUDIES

SEED_SPREAD, DIFFICULTY_SPREAD = 0.3, 2.0
"""Standard deviations of the skills of networks trained alike, and of the difficulties of images."""

DIMENSIONS, VALIDATION, IMAGES = 3, 500, 500
DEFAULT = 0.5
"""The default setting is the middle of the cube."""


class Surface(NamedTuple):
    """The response surface of a contender; one optimum and curvature for all dimensions, or one for each."""

    optimum: float | tuple[float, ...]
    peak: float = 4.5
    curvature: float | tuple[float, ...] = 1.4

    def skill(self, settings: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self.peak - (self.curvature * (settings - self.optimum) ** 2).sum(axis=-1))


POINTS, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
SKILLS = np.linspace(-10, 15, 1001)
ACCURACIES = special.expit(SKILLS[:, None] + DIFFICULTY_SPREAD * POINTS) @ WEIGHTS / WEIGHTS.sum()
"""The accuracy over all images of each skill, by Gauss and Hermite's quadrature."""


def draw_winners(draw: np.random.Generator, surface: Surface, studies: int, trials: int) -> NDArray[np.float64]:
    """The skills that the settings of the winners of some studies have ``[studies]``."""
    skills = surface.skill(draw.random((studies, trials, DIMENSIONS)))
    trained = skills + draw.normal(0, SEED_SPREAD, skills.shape)
    accuracies = draw.binomial(VALIDATION, np.interp(trained, SKILLS, ACCURACIES))
    return np.asarray(skills[np.arange(studies), accuracies.argmax(axis=-1)])


def draw_correct(
    draw: np.random.Generator, skills: NDArray[np.float64], seeds: int, difficulties: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Correct predictions of networks trained anew ``[studies, seeds, images]``."""
    trained = skills[:, None, None] + draw.normal(0, SEED_SPREAD, (len(skills), seeds, 1))
    return np.asarray(special.expit(trained - difficulties) > draw.random((*trained.shape[:2], len(difficulties))))


def draw_difficulties(draw: np.random.Generator) -> NDArray[np.float64]:
    return draw.normal(0, DIFFICULTY_SPREAD, IMAGES)


def upper_limit(found: list[bool]) -> float:
    """The 95 % upper confidence limit (Clopper and Pearson 1934) of how often something happens."""
    return float(stats.beta.ppf(0.95, sum(found) + 1, len(found) - sum(found)))


EQUAL = {
    "the same surface": (Surface(0.5), Surface(0.5)),
    "mirrored": (Surface(0.3), Surface(0.7)),
    "steep": (Surface(0.5, curvature=8.0), Surface(0.5, curvature=8.0)),
}
"""Pairs of contenders that are equally good after tuning."""


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("case", EQUAL)
def test_equal_contenders_are_seldom_called_different_over_studies(case: str, seeds: int) -> None:
    """In at most 5 % of pairs, image by image and by numbers alone."""
    draw = np.random.default_rng(seeds)
    found: dict[str, list[bool]] = {"images": [], "numbers": []}
    for _ in range(2000):
        difficulties = draw_difficulties(draw)
        one, other = (
            draw_correct(draw, draw_winners(draw, surface, STUDIES, TRIALS), seeds, difficulties)
            for surface in EQUAL[case]
        )
        numbers = compare_tuned_numbers(one.mean(axis=-1), other.mean(axis=-1), 1 / IMAGES)
        found["images"].append(compare_tuned_accuracies(one, other).p < ALPHA)
        found["numbers"].append(numbers.p < ALPHA)
    print(f"{case}, {seeds} seeds:", {test: f"{100 * np.mean(wrong):.1f} %" for test, wrong in found.items()})
    assert upper_limit(found["images"]) <= ALPHA
    # A t-test has the level itself, so only an excess beyond the error of the simulation counts.
    assert np.mean(found["numbers"]) <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 2000)


@pytest.mark.slow
def test_equal_contenders_are_often_called_different_over_the_seeds_of_one_study() -> None:
    """6, 10 and 17 % of pairs with 3, 5 and 10 seeds, by a paired t-test; the winner of 20 trials each."""
    draw = np.random.default_rng(0)
    wrong: dict[int, list[bool]] = {3: [], 5: [], 10: []}
    for _ in range(2000):
        difficulties = draw_difficulties(draw)
        one, other = (
            draw_correct(draw, draw_winners(draw, Surface(0.5), 1, STUDIES * TRIALS), 10, difficulties)[0]
            for _ in range(2)
        )
        for seeds, of_seeds in wrong.items():
            accuracies = (right[:seeds].mean(axis=-1).tolist() for right in (one, other))
            of_seeds.append(paired_seeds(*accuracies, step=1 / IMAGES).p < ALPHA)
    print({seeds: f"{100 * np.mean(of_seeds):.1f} %" for seeds, of_seeds in wrong.items()})
    for seeds, share in {3: 0.06, 5: 0.10, 10: 0.17}.items():
        assert np.mean(wrong[seeds]) == pytest.approx(share, abs=0.02)


@pytest.mark.slow
def test_tables_of_equal_contenders_seldom_have_an_asterisk() -> None:
    """Six contenders beside another, after Holm's method: at most 5 % of tables."""
    draw = np.random.default_rng(7)
    wrong = []
    for _ in range(1000):
        difficulties = draw_difficulties(draw)
        first, *others = (
            draw_correct(draw, draw_winners(draw, Surface(optimum), STUDIES, TRIALS), 2, difficulties)
            for optimum in (0.3, 0.7, 0.3, 0.7, 0.3, 0.7, 0.3)
        )
        p_values = [compare_tuned_accuracies(first, other).p for other in others]
        wrong.append(bool(adjust_by_holm(p_values).min() < ALPHA))
    print(f"{100 * np.mean(wrong):.1f} % of tables")
    assert upper_limit(wrong) <= ALPHA


@pytest.mark.slow
def test_a_contender_that_is_better_after_tuning_but_worse_at_the_defaults_is_found() -> None:
    draw = np.random.default_rng(3)
    usual, ours = Surface(0.5, peak=3.5), Surface((0.87, 0.5, 0.5), peak=5.9, curvature=(25.0, 1.0, 1.0))
    by_default, tuned = [], []
    for _ in range(300):
        difficulties = draw_difficulties(draw)
        default = np.full(DIMENSIONS, DEFAULT)
        at_defaults = [
            draw_correct(draw, np.atleast_1d(surface.skill(default)), 5, difficulties)[0] for surface in (ours, usual)
        ]
        difference = compare_accuracies(*at_defaults)
        by_default.append(difference.p < ALPHA and difference.mean < 0)
        winners = [
            draw_correct(draw, draw_winners(draw, surface, STUDIES, TRIALS), 3, difficulties)
            for surface in (ours, usual)
        ]
        difference = compare_tuned_accuracies(*winners)
        tuned.append(difference.p < ALPHA and difference.mean > 0)
    print(f"worse at the defaults {100 * np.mean(by_default):.0f} %, better after tuning {100 * np.mean(tuned):.0f} %")
    assert np.mean(by_default) > 0.9
    assert np.mean(tuned) > 0.7


@pytest.mark.slow
def test_moderated_variances_would_find_differences_beside_an_erratic_contender() -> None:
    """Why the test over studies is not moderated: one contender in six varies four times as much as the others."""
    draw = np.random.default_rng(5)
    spreads = np.array([2.0, 0.5, 0.5, 0.5, 0.5, 0.5])
    wrong: dict[str, list[bool]] = {"moderated": [], "students": []}
    for _ in range(3000):
        differences = draw.normal(0, 0.1, STUDIES) - draw.normal(size=(6, STUDIES)) * spreads[:, None]
        means, variances = differences.mean(axis=1), differences.var(axis=1, ddof=1)
        for test, parts in {
            "moderated": moderate_variances(variances.tolist(), [STUDIES - 1] * 6),
            "students": moderate_variances(variances[:1].tolist(), [STUDIES - 1]) * 6,
        }.items():
            used = parts if test == "moderated" else [parts[0]._replace(value=value) for value in variances]
            p_values = [
                2 * special.stdtr(part.freedom, -abs(mean) / math.sqrt(part.value / STUDIES))
                for mean, part in zip(means, used, strict=True)
            ]
            wrong[test].append(bool(adjust_by_holm(p_values).min() < ALPHA))
    print({test: f"{100 * np.mean(of_tables):.1f} % of tables" for test, of_tables in wrong.items()})
    assert upper_limit(wrong["students"]) <= ALPHA + 0.005
    assert np.mean(wrong["moderated"]) > 1.2 * ALPHA
