"""The declarations of the measure `overlap`."""

from __future__ import annotations

from capsbench.measures.spec import Contest, Judged, MeasureSpec, Metric

OVERLAP = "overlap"

SPEC = MeasureSpec(
    OVERLAP,
    by_default=True,
    metrics=(
        Metric(
            "accuracy",
            "fraction",
            higher_is_better=True,
            judged=(Judged("images of which all objects are found", conditions=("all found",)),),
        ),
        Metric(
            "error",
            "fraction",
            higher_is_better=False,
            contests=(Contest("error on overlapping objects", conditions=("image",)),),
        ),
    ),
)
