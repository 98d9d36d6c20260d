"""Efforts by their numbers, and how many images a check tolerates."""

import pytest

from capsbench.attacks.effort import ATTACKED, EFFORTS, Effort, count_tolerated


def test_the_efforts_are_those_of_the_protocol():
    assert {  # images, steps, restarts, queries, doublings, nearest, every attack
        "light": Effort(100, 10, 1, 100, 2, 0, False),
        "full": Effort(1000, None, 5, 5000, 3, 100, True),
        "quick": Effort(40, 4, 1, 20, 1, 0, False),
    } == EFFORTS
    assert ATTACKED == {"light": 100, "full": 1000, "quick": 40}


@pytest.mark.parametrize(("images", "tolerated"), [(1, 1), (99, 1), (199, 1), (200, 2), (1000, 10), (1099, 10)])
def test_one_image_in_a_hundred_is_tolerated_and_at_least_one(images, tolerated):
    assert count_tolerated(images) == tolerated
