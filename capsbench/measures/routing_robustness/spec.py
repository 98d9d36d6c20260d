"""The declarations of the measure `routing-robustness`."""

from __future__ import annotations

from capsbench.measures.spec import Judged, MeasureSpec, Metric

ROUTING_ROBUSTNESS = "routing-robustness"

SPEC = MeasureSpec(
    ROUTING_ROBUSTNESS,
    metrics=(
        Metric(
            "robust accuracy",
            "fraction",
            higher_is_better=True,
            judged=(Judged("robust accuracy, vote and output attack", conditions=("vote attack", "output attack")),),
        ),
        Metric(
            "accuracy",
            "fraction",
            higher_is_better=True,
            judged=(Judged("accuracy at other iterations", conditions=("iterations at test time",)),),
        ),
    ),
)
