"""Whether a network was still improving when its training ended: what as much training again would have taken from its error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

LATE = 0.1
"""The part of a training's sum of learning rates that is left out at its start, where networks are about to begin to learn."""


class Curve(NamedTuple):
    """A training curve.

    Attributes:
        rates: the learning rate at the end of each epoch.
        errors: what each epoch was judged by, the less the better and not below 0; nan where it was not judged.
    """

    rates: Sequence[float]
    errors: Sequence[float]


class Trend(NamedTuple):
    """Where training curves lead.

    Attributes:
        fall: the part of the error that as much training again would take away, of 1; below 0 where it would add some.
        p: one-sided, that curves without a trend look like this.
    """

    fall: float
    p: float


def trend_of(curves: Sequence[Curve]) -> Trend | None:
    """The trend that the training curves of one contender have in common, one curve a seed.

    Errors fall by power laws of the training time, which is the sum of the learning rates so far: the last epochs of a one-cycle
    schedule take small steps. They fall as well because steps get smaller, which more training only puts off. So the model is

        error = exp(level of the seed + noise * rate / peak rate) * time ** -slope

    and ``slope``, fitted to all epochs but the first `LATE`, is what counts: twice the time leaves ``2 ** -slope`` of the error.
    The fit is a quasi-Poisson regression, whose variance grows with the mean as that of counts of errors does, with a factor that
    is estimated (McCullagh and Nelder 1989, chapter 6); errors of 0 are fine.

    Returns:
        None where that cannot be told: of too few epochs, where time and learning rate explain the same, and of negative losses.
    """
    late = [_late(curve) for curve in curves]
    times, rates, errors = (np.concatenate(parts) for parts in zip(*late, strict=True))
    if not errors.size or errors.min() < 0:
        return None
    if not errors.any():
        return Trend(0.0, 1.0)
    levels = np.repeat(np.eye(len(late)), [len(part) for part, _, _ in late], axis=0)
    rest = np.column_stack([levels, rates])
    terms = np.column_stack([rest, -np.log(times)])
    rank = np.linalg.matrix_rank(terms)
    freedom = len(errors) - rank
    if freedom < 1 or rank == np.linalg.matrix_rank(rest):
        return None
    coefficients, error = _poisson(terms, errors, freedom)
    slope = coefficients[-1]
    p = float(special.stdtr(freedom, -slope / error)) if error > 0 else float(slope <= 0)
    return Trend(1 - 2.0**-slope, p)


def _late(curve: Curve) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Time, as a part of all, learning rate, as a part of the peak, and error of each epoch that counts."""
    rates, errors = np.asarray(curve.rates, dtype=float), np.asarray(curve.errors, dtype=float)
    times = np.cumsum((rates + np.append(rates[:1], rates[:-1])) / 2)
    late = np.isfinite(errors) & (times >= LATE * times[-1:]) & (times > 0)
    return times[late] / times[-1:], rates[late] / rates.max(initial=0), errors[late]


def _poisson(terms: NDArray[Any], counts: NDArray[Any], freedom: int) -> tuple[NDArray[Any], float]:
    """Coefficients of a quasi-Poisson regression with a logarithmic link, and the standard error of the last one."""
    means = (counts + counts.mean()) / 2
    for _ in range(100):  # iteratively reweighted least squares
        weights = np.sqrt(means)
        targets = np.log(means) + (counts - means) / means
        coefficients = np.linalg.lstsq(weights[:, None] * terms, weights * targets)[0]
        before, means = means, np.exp(np.clip(terms @ coefficients, -50, 50))
        if np.allclose(means, before, rtol=1e-9, atol=0):
            break
    dispersion = ((counts - means) ** 2 / means).sum() / freedom
    covariance = dispersion * np.linalg.pinv((terms.T * means) @ terms)
    return coefficients, float(np.sqrt(covariance[-1, -1]))
