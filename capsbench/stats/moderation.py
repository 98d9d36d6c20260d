"""Tests of regressions against a reference: moderated variances, and the p-values of drops and of failures.

A network that is trained again is another draw of the training noise. Its seed may differ, or its CPU, whose rounding errors grow
during training. So a new number is compared with the numbers of several reference seeds: it is a regression only if it lies
farther from their mean than another draw would. Both sides use the same test images, which therefore add no noise.

Five seeds give a poor estimate of a variance. So the variances of the other contenders are used as well: each variance is shrunk
towards the typical one, the more so the more similar all variances are (the moderated t-test of Smyth 2004, made for genes that
are measured a few times each). The typical variance never weighs more than a contender's own seeds: the similarity is itself
estimated from a few contenders, and the test would be anticonservative if it were overestimated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from capsbench.stats.steps import ROUNDING
from capsbench.stats.variances import Variance


def moderate_variances(variances: Sequence[float], freedom: Sequence[int]) -> list[Variance]:
    """Shrinks the variances of one number of several contenders towards the typical one (Smyth 2004, section 6.2).

    The prior's degrees of freedom are at most the contender's own; the module's docstring says why.

    Contenders of variance 0 do not count towards the typical variance: with few images, equal numbers are a coincidence.

    Args:
        variances: one a contender.
        freedom: the degrees of freedom of each variance, 1 or more.
    """
    known = [(value, degrees) for value, degrees in zip(variances, freedom, strict=True) if value > 0 and degrees > 0]
    if len(known) < 2:
        return [Variance(value, degrees) for value, degrees in zip(variances, freedom, strict=True)]
    s2, d = np.array(known, dtype=float).T
    # The names are Smyth's: e is log s2 without its expected offset, and its variance beyond trigamma(d / 2) is the prior's.
    e = np.log(s2) - special.digamma(d / 2) + np.log(d / 2)
    excess = float(e.var(ddof=1) - special.polygamma(1, d / 2).mean())
    if excess > 0:
        prior = 2 * _inverse_trigamma(excess)
        typical = math.exp(float(e.mean()) + float(special.digamma(prior / 2)) - math.log(prior / 2))
    else:  # the variances differ no more than equal ones would: the prior is certain
        prior, typical = math.inf, math.exp(float(e.mean()))
    return [_shrink_variance(typical, prior, value, degrees) for value, degrees in zip(variances, freedom, strict=True)]


def chance_of_drop(drop: float, variance: Variance, reference: int, current: int, tolerance: float) -> float:
    """Returns the one-sided p-value of a drop of the mean over seeds, by training noise alone.

    Args:
        drop: the reference's mean minus the current one.
        reference, current: the number of seeds of either mean.
        tolerance: the largest drop that does not matter; the test asks for a larger one.
    """
    beyond = drop - tolerance
    if variance.value == 0:
        return 0.0 if beyond > ROUNDING else 1.0
    t = beyond / math.sqrt(variance.value * (1 / reference + 1 / current))
    return float(special.stdtr(variance.freedom, -t))


def chance_of_failures(failed: int, cells: int, failed_before: int, cells_before: int) -> float:
    """Returns the one-sided p-value of Fisher's exact test (1935): ``failed`` or more failures at the rate of before."""
    total, failures = cells + cells_before, failed + failed_before
    ways = math.comb(total, cells)
    return sum(
        math.comb(failures, k) * math.comb(total - failures, cells - k) / ways
        for k in range(failed, min(failures, cells) + 1)
    )


def _shrink_variance(typical: float, prior: float, value: float, freedom: int) -> Variance:
    weight = min(prior, freedom)
    return Variance((weight * typical + freedom * value) / (weight + freedom), weight + freedom)


def _inverse_trigamma(y: float) -> float:
    """Solves trigamma(x) = y for x by Newton's method on 1/trigamma, which is nearly linear (Smyth 2004, appendix)."""
    x = 0.5 + 1 / y
    for _ in range(50):
        trigamma = float(special.polygamma(1, x))
        step = trigamma * (1 - trigamma / y) / float(special.polygamma(2, x))
        x += step
        if abs(step) < 1e-8 * x:
            break
    return x
