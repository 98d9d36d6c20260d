"""The metrics of the measure cost."""

from __future__ import annotations

from capsbench.measures.metric import Metric

METRICS = (
    Metric("parameters", "parameters", higher_is_better=False, headline=True, judged=True),
    Metric("flops", "FLOP/image", higher_is_better=False, headline=True, judged=True),
    Metric("executed flops", "FLOP/image", higher_is_better=False),
)
