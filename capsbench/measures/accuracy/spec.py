"""The declarations of the measure `accuracy`."""

from __future__ import annotations

from capsbench.measures.spec import Contest, Judged, MeasureSpec, Metric

ACCURACY = "accuracy"

TEST_ACCURACY = (ACCURACY, "accuracy", "test")
"""Measure, metric and condition of the number that contenders are compared by first."""

LARGEST_PREDICTED_SHARE, MAJORITY_SHARE, IMAGES = "largest predicted share", "majority share", "images"
"""Metrics by which a collapsed network is recognised."""

TEST_CONTEST = Contest("test accuracy", conditions=("test",))

SPEC = MeasureSpec(
    ACCURACY,
    by_default=True,
    metrics=(
        Metric(
            "accuracy",
            "fraction",
            higher_is_better=True,
            contests=(TEST_CONTEST,),
            judged=(Judged("test accuracy", conditions=("test",)),),
        ),
        Metric("error", "fraction", higher_is_better=False),
        Metric("nll", "nats", higher_is_better=False),
        Metric("calibration error", "fraction", higher_is_better=False),
        Metric("balanced accuracy", "fraction", higher_is_better=True),
        Metric(LARGEST_PREDICTED_SHARE, "fraction"),
        Metric(MAJORITY_SHARE, "fraction"),
        Metric(IMAGES, "images"),
    ),
)
