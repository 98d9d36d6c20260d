"""Projected gradient descent as the measures of transfer, routing and detection make it."""

from __future__ import annotations

from capsbench.attacks.adapter import Attack
from capsbench.attacks.effort import Effort
from capsbench.attacks.threats import Threat, bounds_of


def descent(dataset: str, epsilon: float, effort: Effort) -> Attack:
    """Projected gradient descent in L-infinity by cross-entropy: the steps of an effort, or those published for a data set."""
    if effort.steps is not None:
        return Attack("pgd", Threat.LINF, epsilon, steps=effort.steps)
    bounds = bounds_of(dataset, Threat.LINF)
    return Attack("pgd", Threat.LINF, epsilon, steps=bounds.steps, step=bounds.step * epsilon)
