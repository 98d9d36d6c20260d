"""The declarations of the measure `viewpoint`."""

from __future__ import annotations

from capsbench.measures.spec import Contest, Judged, MeasureSpec, Metric

VIEWPOINT = "viewpoint"

SPEC = MeasureSpec(
    VIEWPOINT,
    by_default=True,
    metrics=(
        Metric(
            "error",
            "fraction",
            higher_is_better=False,
            contests=(Contest("error on novel viewpoints", conditions=("novel",), excludes_collapsed=True),),
            judged=(Judged("error of novel viewpoints", conditions=("novel",)),),
        ),
        Metric("accuracy", "fraction", higher_is_better=True),
    ),
)
