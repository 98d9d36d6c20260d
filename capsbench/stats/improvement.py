"""Detects networks that were still improving at the end: predicts their error after twice the training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

START, MIDDLE = 0.1, 0.5
"""Fractions of the training time, which is the sum of the learning rates. Epochs before `START` are left out, since networks have
hardly begun to learn. A trend must hold for the epochs after `MIDDLE` alone as well."""

NEAR = 0.9
"""The fraction of the error at chance from which a network counts as yet to begin to learn."""


class Curve(NamedTuple):
    """A training curve.

    Attributes:
        rates: the learning rate at the end of each epoch.
        errors: the error at the end of each epoch, lower is better and 0 the least; nan if it was not measured.
    """

    rates: Sequence[float]
    errors: Sequence[float]


class Trend(NamedTuple):
    """The trend of training curves.

    Attributes:
        fall: the fraction of the error that twice the training would remove; below 0 if it would add to the error.
        late: the same, estimated from the epochs after `MIDDLE` alone.
        p: the one-sided p-value of no falling trend.
    """

    fall: float
    late: float
    p: float


def trend_of(curves: Sequence[Curve], chance: float = math.inf) -> Trend | None:
    """Estimates the common trend of one contender's training curves, one curve a seed.

    Errors fall as a power law of the training time, which is the sum of the learning rates so far: the last epochs of a one-cycle
    schedule take small steps. Errors also fall because the steps get smaller, but more training only postpones that. The model:

        error = exp(level of the seed + noise * rate / peak rate) * time ** -slope

    The trend is ``slope``: twice the time leaves ``2 ** -slope`` of the error. It is fitted to all epochs after `START`, and
    again to those after `MIDDLE`, since an error that fell early and is flat from then on has no trend.

    Smaller steps cannot reduce the error of networks that are still near chance at `MIDDLE`. For them, only the slope after
    `MIDDLE` is fitted, and without ``noise``.

    The fit is a quasi-Poisson regression: the variance is proportional to the mean, as for counts of errors, by a factor that is
    estimated (McCullagh and Nelder 1989, chapter 6). Errors of 0 are allowed.

    Args:
        chance: the error of the best constant guess; infinite if it is not known.

    Returns:
        None if there are too few epochs, if time and learning rate are collinear, or if a loss is negative.
    """
    if _mean_at_middle(curves) >= NEAR * chance:
        return _fit_trend(curves, MIDDLE, steps_matter=False)
    whole, late = (_fit_trend(curves, start) for start in (START, MIDDLE))
    return None if whole is None or late is None else whole._replace(late=late.fall)


def _mean_at_middle(curves: Sequence[Curve]) -> float:
    """Returns the mean error of the first epochs after `MIDDLE`; nan if a curve has none."""
    late = [_select_epochs(curve, MIDDLE)[2] for curve in curves]
    return float(np.mean([errors[0] if len(errors) else math.nan for errors in late]))


def _fit_trend(curves: Sequence[Curve], start: float, steps_matter: bool = True) -> Trend | None:
    """Fits the model of `trend_of`, with or without ``noise``, to the epochs after a fraction of the training time."""
    parts = [_select_epochs(curve, start) for curve in curves]
    times, rates, errors = (np.concatenate(part) for part in zip(*parts, strict=True))
    if not errors.size or errors.min() < 0:
        return None
    if not errors.any():
        return Trend(0.0, 0.0, 1.0)
    # One column a seed for its level, one for the learning rate, and the last, whose coefficient is the slope, for the time.
    levels = np.repeat(np.eye(len(parts)), [len(part) for part, _, _ in parts], axis=0)
    rest = np.column_stack([levels, rates]) if steps_matter else levels
    terms = np.column_stack([rest, -np.log(times)])
    rank = np.linalg.matrix_rank(terms)
    freedom = len(errors) - rank
    # Where the other columns explain the time, no slope can be estimated.
    if freedom < 1 or rank == np.linalg.matrix_rank(rest):
        return None
    coefficients, error = _fit_poisson(terms, errors, freedom)
    slope = coefficients[-1]
    p = float(special.stdtr(freedom, -slope / error)) if error > 0 else float(slope <= 0)
    fall = 1 - 2.0**-slope
    return Trend(fall, fall, p)


def _select_epochs(curve: Curve, start: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Returns the times, learning rates and errors of the epochs that were measured after a fraction of the training time.

    Times are fractions of the whole, learning rates fractions of their peak.
    """
    rates, errors = np.asarray(curve.rates, dtype=float), np.asarray(curve.errors, dtype=float)
    # The learning rates are those at the ends of epochs, so an epoch's sum is approximated by the trapezoidal rule.
    times = np.cumsum((rates + np.append(rates[:1], rates[:-1])) / 2)
    counted = np.isfinite(errors) & (times >= start * times[-1:]) & (times > 0)
    return times[counted] / times[-1:], rates[counted] / rates.max(initial=0), errors[counted]


def _fit_poisson(terms: NDArray[Any], counts: NDArray[Any], freedom: int) -> tuple[NDArray[Any], float]:
    """Fits a quasi-Poisson regression with a logarithmic link.

    Returns:
        The coefficients, and the standard error of the last one.
    """
    means = (counts + counts.mean()) / 2
    for _ in range(100):  # iteratively reweighted least squares
        weights = np.sqrt(means)
        targets = np.log(means) + (counts - means) / means
        coefficients = np.linalg.lstsq(weights[:, None] * terms, weights * targets, rcond=None)[0]
        before, means = means, np.exp(np.clip(terms @ coefficients, -50, 50))
        if np.allclose(means, before, rtol=1e-9, atol=0):
            break
    dispersion = ((counts - means) ** 2 / means).sum() / freedom
    covariance = dispersion * np.linalg.pinv((terms.T * means) @ terms)
    return coefficients, float(np.sqrt(covariance[-1, -1]))
