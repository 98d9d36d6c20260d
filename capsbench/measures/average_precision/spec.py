"""The declarations of the measure `average-precision`."""

from __future__ import annotations

from capsbench.measures.spec import Contest, Judged, MeasureSpec, Metric

AVERAGE_PRECISION = "average-precision"

MEAN, OF_CLASS = "mean average precision", "average precision"
"""Its metrics: over all classes, and of each."""

SPEC = MeasureSpec(
    AVERAGE_PRECISION,
    by_default=True,
    metrics=(
        Metric(
            MEAN,
            "fraction",
            higher_is_better=True,
            contests=(Contest("mean average precision", conditions=("test",)),),
            judged=(Judged("mean average precision", conditions=("test",)),),
        ),
        Metric(OF_CLASS, "fraction", higher_is_better=True),
    ),
)
