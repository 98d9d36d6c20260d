"""The declarations of the measure `cost`."""

from __future__ import annotations

from capsbench.measures.spec import Judged, MeasureSpec, Metric

COST = "cost"

FLOPS = (COST, "flops", "inference")
"""Measure, metric and condition of a cost in the headline table."""

SPEC = MeasureSpec(
    COST,
    by_default=True,
    compared=0,
    metrics=(
        Metric(
            "parameters",
            "parameters",
            higher_is_better=False,
            judged=(Judged("parameters at inference", conditions=("inference",), rule="exact"),),
        ),
        Metric(
            "flops",
            "FLOP/image",
            higher_is_better=False,
            judged=(Judged("FLOPs an image", conditions=("inference",), rule="exact"),),
        ),
        Metric("executed flops", "FLOP/image", higher_is_better=False),
    ),
)
