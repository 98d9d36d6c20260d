"""The metrics of the measure accuracy."""

from __future__ import annotations

from capsbench.measures.metric import Metric

METRICS = (
    Metric("accuracy", "fraction", higher_is_better=True, headline=True, judged=True),
    Metric("error", "fraction", higher_is_better=False),
    Metric("nll", "nats", higher_is_better=False),
    Metric("calibration error", "fraction", higher_is_better=False),
    Metric("balanced accuracy", "fraction", higher_is_better=True),
    Metric("largest predicted share", "fraction", higher_is_better=None),
    Metric("majority share", "fraction", higher_is_better=None),
    Metric("images", "images", higher_is_better=None),
)
