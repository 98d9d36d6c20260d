"""Imports packages that are needed only for some of what a user may ask for."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any


def import_package(name: str) -> Any:
    """Returns a module; raises ModuleNotFoundError if it is not installed.

    In a notebook without ipywidgets, tqdm warns whoever imports it that it can draw no bar. capsbench draws its own.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")
        return import_module(name)
