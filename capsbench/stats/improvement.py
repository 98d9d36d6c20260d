"""Whether a network was still improving when its training ended: what as much training again would have taken from its error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

START, MIDDLE = 0.1, 0.5
"""Parts of a training's time, its sum of learning rates: networks are about to begin to learn before the first; what a trend says
has to hold after the second as well."""

SAME = 0.9
"""The part of the error of the first epoch above which a network has not begun to learn."""


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
        late: the same by the epochs after `MIDDLE` alone.
        p: one-sided, that curves without a trend look like this.
    """

    fall: float
    late: float
    p: float


def trend_of(curves: Sequence[Curve], unlearned: float = math.inf) -> Trend | None:
    """The trend that the training curves of one contender have in common, one curve a seed.

    Errors fall by power laws of the training time, which is the sum of the learning rates so far: the last epochs of a one-cycle
    schedule take small steps. They fall as well because steps get smaller, which more training only puts off. So the model is

        error = exp(level of the seed + noise * rate / peak rate) * time ** -slope

    and ``slope`` is what counts: twice the time leaves ``2 ** -slope`` of the error. It is fitted to all epochs after `START`,
    and again to those after `MIDDLE`, since what fell early and has been flat from then on is no trend.

    Networks that have not begun to learn at `MIDDLE` have nothing yet that smaller steps could take away: of them the slope after
    `MIDDLE` is fitted without ``noise``, and counts alone.

    The fit is a quasi-Poisson regression, whose variance grows with the mean as that of counts of errors does, with a factor that
    is estimated (McCullagh and Nelder 1989, chapter 6); errors of 0 are fine.

    Args:
        unlearned: the least error of networks that may not have begun to learn.

    Returns:
        None where that cannot be told: of too few epochs, where time and learning rate explain the same, and of negative losses.
    """
    if _is_yet_to_begin(curves, unlearned):
        return _fit(curves, MIDDLE, steps_matter=False)
    whole, late = (_fit(curves, start) for start in (START, MIDDLE))
    return None if whole is None or late is None else whole._replace(late=late.fall)


def _is_yet_to_begin(curves: Sequence[Curve], unlearned: float) -> bool:
    """Whether the mean error over seeds at `MIDDLE` is not below ``unlearned``, nor below `SAME` of that of the first epoch."""
    first, middle = (
        np.array([errors[0] if len(errors := _after(curve, start)[2]) else math.nan for curve in curves]).mean()
        for start in (0.0, MIDDLE)
    )
    return bool(middle >= max(unlearned, SAME * first))


def _fit(curves: Sequence[Curve], start: float, steps_matter: bool = True) -> Trend | None:
    """The trend of the epochs after a part of the time, with or without ``noise`` in the model."""
    parts = [_after(curve, start) for curve in curves]
    times, rates, errors = (np.concatenate(part) for part in zip(*parts, strict=True))
    if not errors.size or errors.min() < 0:
        return None
    if not errors.any():
        return Trend(0.0, 0.0, 1.0)
    levels = np.repeat(np.eye(len(parts)), [len(part) for part, _, _ in parts], axis=0)
    rest = np.column_stack([levels, rates]) if steps_matter else levels
    terms = np.column_stack([rest, -np.log(times)])
    rank = np.linalg.matrix_rank(terms)
    freedom = len(errors) - rank
    if freedom < 1 or rank == np.linalg.matrix_rank(rest):
        return None
    coefficients, error = _poisson(terms, errors, freedom)
    slope = coefficients[-1]
    p = float(special.stdtr(freedom, -slope / error)) if error > 0 else float(slope <= 0)
    fall = 1 - 2.0**-slope
    return Trend(fall, fall, p)


def _after(curve: Curve, start: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Time, as a part of all, learning rate, as a part of the peak, and error of each epoch judged after a part of the time."""
    rates, errors = np.asarray(curve.rates, dtype=float), np.asarray(curve.errors, dtype=float)
    times = np.cumsum((rates + np.append(rates[:1], rates[:-1])) / 2)
    counted = np.isfinite(errors) & (times >= start * times[-1:]) & (times > 0)
    return times[counted] / times[-1:], rates[counted] / rates.max(initial=0), errors[counted]


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
