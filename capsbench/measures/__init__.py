"""Measures, a folder each: a trained network and its data -> tidy rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from capsbench.measures.spec import Contest, Judged, MeasureSpec, Metric

if TYPE_CHECKING:
    from capsbench.measures.base import Measure, Subject
    from capsbench.measures.build import make_measure
    from capsbench.records.record import Row

__all__ = ["Contest", "Judged", "Measure", "MeasureSpec", "Metric", "Row", "Subject", "make_measure"]

_HOMES = {
    "Measure": "capsbench.measures.base",
    "Row": "capsbench.records.record",
    "Subject": "capsbench.measures.base",
    "make_measure": "capsbench.measures.build",
}


def __getattr__(name: str) -> Any:
    # Records import specs from this package, and measures import records: what needs records is imported when it is asked for.
    if name not in _HOMES:
        raise AttributeError(f"module 'capsbench.measures' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
