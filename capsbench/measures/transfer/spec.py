"""The declarations of the measure `transfer`."""

from __future__ import annotations

from capsbench.measures.spec import Judged, MeasureSpec, Metric

TRANSFER = "transfer"

BEYOND_WHITE_BOX = "beyond white box"
"""The metric of images that only attacks on other networks broke: above a few, a network's own attacks were too weak."""

SPEC = MeasureSpec(
    TRANSFER,
    metrics=(
        Metric("images", "images"),
        Metric("accuracy", "fraction", higher_is_better=True),
        Metric(
            "success rate",
            "fraction",
            higher_is_better=False,
            judged=(Judged("success of transferred attacks"),),
        ),
        Metric(BEYOND_WHITE_BOX, "images", higher_is_better=False),
    ),
)
