"""The winner of a study."""

from __future__ import annotations

import math

from capsbench.tuning.selection import Winner, select_winner


def test_the_best_validation_performance_wins_and_of_equal_ones_the_first() -> None:
    assert select_winner([0.1, 0.9, 0.5, 0.9]) == Winner(1, 0.9)


def test_a_failed_trial_never_wins() -> None:
    assert select_winner([-math.inf, -3.0]) == Winner(1, -3.0)


def test_a_study_whose_trials_all_failed_has_no_winner() -> None:
    assert select_winner([-math.inf, -math.inf]) is None
