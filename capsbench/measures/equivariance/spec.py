"""The declarations of the measure `equivariance`."""

from __future__ import annotations

from capsbench.measures.spec import Contest, Judged, MeasureSpec, Metric

EQUIVARIANCE = "equivariance"

SPEC = MeasureSpec(
    EQUIVARIANCE,
    by_default=True,
    metrics=(
        Metric(
            "consistency",
            "fraction",
            higher_is_better=True,
            contests=(Contest("predictions kept under transformations", conditions=("all",), excludes_collapsed=True),),
            judged=(Judged("consistency under transformations", conditions=("all",)),),
        ),
        Metric("map error", "ratio", higher_is_better=False),
        Metric(
            "R^2",
            "fraction",
            higher_is_better=True,
            judged=(Judged("R^2 of what poses know of transformations", conditions=("all",), floor=0.0),),
            is_share=False,  # it has no lower bound
        ),
    ),
)
