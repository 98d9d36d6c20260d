"""What a measure says of each of its metrics: declared once, in ``measures/NAME/spec.py``, for all who read numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric of a measure.

    Attributes:
        name: of its rows.
        unit: of its rows.
        higher_is_better: the direction; None where neither is better.
        headline: whether it stands in the headline table or in "who won".
        judged: whether the gate judges it.
        by_default: whether a run that names no measure takes it.
    """

    name: str
    unit: str
    higher_is_better: bool | None
    headline: bool = False
    judged: bool = False
    by_default: bool = True
