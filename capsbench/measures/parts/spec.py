"""The declarations of the measure `parts`. A diagnosis has no direction, so nobody wins by one."""

from __future__ import annotations

from capsbench.measures.spec import MeasureSpec, Metric

PARTS = "parts"

SPEC = MeasureSpec(
    PARTS,
    metrics=(
        Metric("coupling entropy", "fraction"),
        Metric("image dependence", "fraction"),
        Metric("effective children", "capsules"),
        Metric("dead children", "fraction"),
        Metric("dead parents", "fraction"),
        Metric("vote rank", "dimensions"),
        Metric("routed vote rank", "dimensions"),
        Metric("numerical vote rank", "dimensions"),
    ),
    compared=0,
)
