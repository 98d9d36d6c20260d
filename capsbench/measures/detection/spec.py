"""The declarations of the measure `detection`."""

from __future__ import annotations

from capsbench.measures.spec import Judged, MeasureSpec, Metric

DETECTION = "detection"

SPEC = MeasureSpec(
    DETECTION,
    metrics=(
        Metric("threshold", "L2", higher_is_better=False),
        Metric("false positives", "fraction", higher_is_better=False),
        Metric("success rate", "fraction", higher_is_better=False),
        Metric(
            "undetected rate",
            "fraction",
            higher_is_better=False,
            judged=(Judged("undetected adversarial images", conditions=("worst case",)),),
        ),
        Metric("detected", "fraction", higher_is_better=True),
        Metric("AUROC", "fraction", higher_is_better=True),
        Metric("adversarial images", "images", higher_is_better=False),
    ),
)
