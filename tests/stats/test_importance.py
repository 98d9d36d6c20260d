"""What mattered among the trials of a search."""

from __future__ import annotations

import math

import numpy as np
import pytest

from capsbench.stats.importance import FEWEST_TRIALS, explain_ranks


def test_a_setting_whose_best_is_in_the_middle_explains_what_it_decides() -> None:
    values = np.linspace(-1, 1, 40)
    assert explain_ranks(values.tolist(), (-(values**2)).tolist()) > 0.8


def test_a_choice_that_decides_explains_all_but_the_ranks_within_it() -> None:
    settings = ["a", "b"] * 10
    performances = [0.9 + 0.001 * place if name == "a" else 0.5 for place, name in enumerate(settings)]
    assert explain_ranks(settings, performances) == pytest.approx(0.87, abs=0.05)


def test_settings_that_do_not_matter_explain_nothing_on_average() -> None:
    draw = np.random.default_rng(0)
    shares = [explain_ranks(draw.random(40).tolist(), draw.random(40).tolist()) for _ in range(200)]
    assert np.median(shares) == 0.0
    assert np.mean(shares) < 0.04


def test_a_failed_trial_ranks_last_and_decides_no_more_than_its_rank() -> None:
    values = np.linspace(0, 1, 20).tolist()
    with_failure = explain_ranks(values, [-math.inf, *values[1:]])
    assert with_failure == pytest.approx(explain_ranks(values, values))


@pytest.mark.parametrize(
    ("settings", "performances"),
    [
        ([0.1] * 20, [0.1 * place for place in range(20)]),  # one value
        ([0.1 * place for place in range(20)], [0.5] * 20),  # equal performances
        ([0.1 * place for place in range(FEWEST_TRIALS - 1)], [0.1 * place for place in range(FEWEST_TRIALS - 1)]),
    ],
)
def test_what_cannot_be_known_is_nan(settings, performances) -> None:
    assert math.isnan(explain_ranks(settings, performances))
