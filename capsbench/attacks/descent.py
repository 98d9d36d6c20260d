"""Projected gradient descent for the measures of transfer, routing robustness and detection."""

from __future__ import annotations

from capsbench.attacks.adapter import Attack
from capsbench.attacks.effort import Effort
from capsbench.attacks.threats import Threat, bounds_of


def make_descent(dataset: str, epsilon: float, effort: Effort) -> Attack:
    """Returns PGD in L-infinity with cross-entropy, with the steps of an effort or those published for a data set."""
    if effort.steps is not None:
        return Attack("pgd", Threat.LINF, epsilon, steps=effort.steps)
    bounds = bounds_of(dataset, Threat.LINF)
    return Attack("pgd", Threat.LINF, epsilon, steps=bounds.steps, step=bounds.step * epsilon)
