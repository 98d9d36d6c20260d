"""capsbench: what capsule networks are worth, measured against CNNs of equal size.

From Python, the same as on the command line:

    import capsbench
    capsbench.run(routing="em", iters=[1, 2, 3])
    table = capsbench.load()          # tidy pandas: one row = one cell x one number
    capsbench.report().readable
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Cell",
    "Routing",
    "UsageError",
    "cells",
    "challenge",
    "check",
    "compare",
    "contenders",
    "converge",
    "decide",
    "export",
    "load",
    "measure",
    "merge",
    "network",
    "predictions",
    "prune",
    "report",
    "reproduce",
    "run",
    "show",
    "status",
    "tune",
]

_HOMES = {
    "Cell": "capsbench.records.cell",
    "Routing": "capsbench.routing",
    "UsageError": "capsbench.errors",
    "cells": "capsbench.api",
    "challenge": "capsbench.tuning.challenge",
    "check": "capsbench.comparing",
    "compare": "capsbench.comparing",
    "contenders": "capsbench.tuning.outside",
    "converge": "capsbench.tuning.converge",
    "decide": "capsbench.deciding",
    "export": "capsbench.exporting",
    "load": "capsbench.records.table",
    "measure": "capsbench.api",
    "merge": "capsbench.merging",
    "network": "capsbench.predicting",
    "predictions": "capsbench.records.table",
    "prune": "capsbench.pruning",
    "report": "capsbench.reporting.build",
    "reproduce": "capsbench.reproducing",
    "run": "capsbench.api",
    "show": "capsbench.showing",
    "status": "capsbench.watching",
    "tune": "capsbench.tuning.tune",
}

if TYPE_CHECKING:
    from capsbench.api import cells, measure, run
    from capsbench.comparing import check, compare
    from capsbench.deciding import decide
    from capsbench.errors import UsageError
    from capsbench.exporting import export
    from capsbench.merging import merge
    from capsbench.predicting import network
    from capsbench.pruning import prune
    from capsbench.records.cell import Cell
    from capsbench.records.table import load, predictions
    from capsbench.reporting.build import report
    from capsbench.reproducing import reproduce
    from capsbench.routing import Routing
    from capsbench.showing import show
    from capsbench.tuning.challenge import challenge
    from capsbench.tuning.converge import converge
    from capsbench.tuning.outside import contenders
    from capsbench.tuning.tune import tune
    from capsbench.watching import status


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import: it is imported when something is asked for that needs it.
    if name not in _HOMES:
        raise AttributeError(f"module 'capsbench' has no attribute {name!r}")
    from importlib import import_module

    from capsbench.errors import CallInterrupted

    try:
        component = getattr(import_module(_HOMES[name]), name)
    except KeyboardInterrupt:
        raise CallInterrupted(
            "capsbench was still being imported; restart Python if it cannot be imported now"
        ) from None
    return component if isinstance(component, type) else _make_interruptible(component)


@cache
def _make_interruptible(function: Callable[..., Any]) -> Callable[..., Any]:
    # The command line has its own end for Ctrl-C, and calls the functions by their modules.
    from capsbench.errors import end_at_interrupt

    return end_at_interrupt(function)
