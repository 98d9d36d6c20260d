"""The declarations of the measure `transformation`."""

from __future__ import annotations

from capsbench.measures.spec import Judged, MeasureSpec, Metric

TRANSFORMATION = "transformation"

SPEC = MeasureSpec(
    TRANSFORMATION,
    by_default=True,
    metrics=(
        Metric(
            "squared error",
            "per image",
            higher_is_better=False,
            judged=(Judged("squared error of transformed images", conditions=("inside",), relative=True),),
        ),
        Metric("slope", "ratio"),
        Metric("R^2", "fraction", higher_is_better=True, is_share=False),
        Metric("presence", "fraction", is_share=False),  # capsules that nothing squashes are longer than 1
    ),
)
