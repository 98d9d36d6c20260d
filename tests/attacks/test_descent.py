"""The steps of projected gradient descent: an effort's own, or those published for a data set."""

import pytest

from capsbench.attacks.descent import make_descent
from capsbench.attacks.effort import EFFORTS
from capsbench.attacks.threats import Threat


def test_an_effort_with_steps_of_its_own_has_madrys_step_size():
    attack = make_descent("mnist", 0.2, EFFORTS["light"])
    assert (attack.name, attack.threat, attack.epsilon, attack.loss) == ("pgd", Threat.LINF, 0.2, "cross-entropy")
    assert (attack.steps, attack.restarts, attack.step_size) == (10, 1, pytest.approx(2.5 * 0.2 / 10))


@pytest.mark.parametrize(
    ("dataset", "steps", "share"), [("mnist", 40, 1 / 30), ("cifar10", 20, 1 / 4), ("digits", 40, 1 / 16)]
)
def test_another_effort_has_the_published_steps_as_a_share_of_epsilon(dataset, steps, share):
    attack = make_descent(dataset, 0.2, EFFORTS["full"])
    assert (attack.threat, attack.epsilon) == (Threat.LINF, 0.2)
    assert (attack.steps, attack.step_size) == (steps, pytest.approx(0.2 * share))
