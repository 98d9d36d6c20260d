"""The declarations of the measure `affine`."""

from __future__ import annotations

from capsbench.measures.spec import Contest, Judged, MeasureSpec, Metric

AFFINE = "affine"

SPEC = MeasureSpec(
    AFFINE,
    by_default=True,
    metrics=(
        Metric("accuracy", "fraction", higher_is_better=True),
        Metric(
            "area under the curve",
            "fraction",
            higher_is_better=True,
            contests=(Contest("accuracy under warps, mean of families", excludes_collapsed=True),),
            judged=(Judged("area under the affine curves"),),
        ),
        Metric("retained accuracy", "ratio", higher_is_better=True),
    ),
)
