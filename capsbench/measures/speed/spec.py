"""The declarations of the measure `speed`."""

from __future__ import annotations

from capsbench.measures.spec import Judged, MeasureSpec, Metric

SPEED = "speed"

STEP_TIME = (SPEED, "latency p50", "training step")
INFERENCE_TIME = (SPEED, "latency p50", "inference")
STEP_MEMORY = (SPEED, "peak memory", "training step")
"""Measure, metric and condition of the costs in the headline table."""

SPEC = MeasureSpec(
    SPEED,
    by_default=True,
    compared=0,
    metrics=(
        Metric(
            "latency p50",
            "ms",
            higher_is_better=False,
            judged=(
                Judged("time of inference", conditions=("inference",), rule="time"),
                Judged("time of a training step", conditions=("training step",), rule="time"),
            ),
            repeatable=False,
        ),
        Metric("latency p95", "ms", higher_is_better=False, repeatable=False),
        Metric("throughput", "images/s", higher_is_better=True, repeatable=False),
        Metric("peak memory", "MiB", higher_is_better=False, repeatable=False),
    ),
    retired={
        "parameters": "taken by the measure cost",
        "flops": "taken by the measure cost: these counted the votes in every pass, and no elementwise work outside the passes",
    },
)
