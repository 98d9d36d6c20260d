"""How far networks that are trained alike lie apart, and whether a new one lies farther.

A network trained again is another draw of training's noise: another seed, or the same on another CPU, whose last bits differ
and grow. So a number is held against what several seeds of the reference scored, and it has to be farther from their mean
than a further draw would be. The test images are the same on both sides, and so is what they add; it is no source of noise here.

Five seeds say little of how far a network spreads. What the other contenders' seeds say of the same number is used as well: each
variance is drawn towards the usual one, as far as the variances of all of them are alike (the moderated t-test of Smyth 2004,
as of genes measured a few times each). What is usual never weighs more than a contender's own seeds do: how alike the variances
are is itself a guess of a few contenders, and where it is too good the test would promise too much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from capsbench.stats.steps import ROUNDING
from capsbench.stats.variances import Variance


def moderated(variances: Sequence[float], freedom: Sequence[int]) -> list[Variance]:
    """Variances of the same number of several contenders, each drawn towards the usual one (Smyth 2004, section 6.2).

    The prior's degrees of freedom are at most the contender's own; see above.

    Contenders without any spread do not enter into what is usual: among numbers of few images, that they agree is chance.

    Args:
        variances: one a contender.
        freedom: its degrees of freedom, 1 or more each.
    """
    known = [(value, degrees) for value, degrees in zip(variances, freedom, strict=True) if value > 0 and degrees > 0]
    if len(known) < 2:
        return [Variance(value, degrees) for value, degrees in zip(variances, freedom, strict=True)]
    s2, d = np.array(known, dtype=float).T
    e = np.log(s2) - special.digamma(d / 2) + np.log(d / 2)
    excess = float(e.var(ddof=1) - special.polygamma(1, d / 2).mean())
    if excess > 0:
        prior = 2 * _inverse_trigamma(excess)
        usual = math.exp(float(e.mean()) + float(special.digamma(prior / 2)) - math.log(prior / 2))
    else:
        prior, usual = math.inf, math.exp(float(e.mean()))
    return [_towards(usual, prior, value, degrees) for value, degrees in zip(variances, freedom, strict=True)]


def chance_of_drop(drop: float, variance: Variance, reference: int, current: int, tolerance: float) -> float:
    """One-sided p-value that the mean of some new seeds lies so far below that of the reference's, by training noise.

    Args:
        drop: the reference's mean less the new one.
        reference, current: how many seeds they are of.
        tolerance: a drop that does not matter; what is tested is whether it is larger.
    """
    beyond = drop - tolerance
    if variance.value == 0:
        return 0.0 if beyond > ROUNDING else 1.0
    t = beyond / math.sqrt(variance.value * (1 / reference + 1 / current))
    return float(special.stdtr(variance.freedom, -t))


def chance_of_failures(failed: int, of: int, failed_before: int, of_before: int) -> float:
    """One-sided p-value of Fisher's exact test (1935): so many failures or more, if as many are to be expected as before."""
    total, failures = of + of_before, failed + failed_before
    ways = math.comb(total, of)
    return sum(
        math.comb(failures, k) * math.comb(total - failures, of - k) / ways
        for k in range(failed, min(failures, of) + 1)
    )


def _towards(usual: float, prior: float, value: float, freedom: int) -> Variance:
    weight = min(prior, freedom)
    return Variance((weight * usual + freedom * value) / (weight + freedom), weight + freedom)


def _inverse_trigamma(y: float) -> float:
    """The x of which trigamma is y, by Newton's method on 1/trigamma, which is nearly straight (Smyth 2004, appendix)."""
    x = 0.5 + 1 / y
    for _ in range(50):
        trigamma = float(special.polygamma(1, x))
        step = trigamma * (1 - trigamma / y) / float(special.polygamma(2, x))
        x += step
        if abs(step) < 1e-8 * x:
            break
    return x
