"""torchattacks: whether it is here, in the version whose behaviour `capsbench.attacks.adapter` knows."""

from __future__ import annotations

import importlib
import importlib.util
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from capsbench.errors import Kind, UsageError

VERSION = "3.5.1"

NEEDED = ("tqdm",)
"""What torchattacks imports beside packages that capsbench needs itself. It never imports requests, of which it asks for an old
version, so that an environment with a newer one works."""

REMEDY = f'`pip install "capsbench[attacks]"`; beside a newer requests, `pip install --no-deps torchattacks=={VERSION}`'


def explain_missing() -> str | None:
    """Returns the reason why attacks cannot run, or None if they can."""
    if importlib.util.find_spec("torchattacks") is None:
        return f"torchattacks is not installed; {REMEDY}"
    try:
        installed = version("torchattacks")
    except PackageNotFoundError:
        installed = "of no known version"
    if installed != VERSION:
        return f"torchattacks is {installed}, and its behaviour is known of {VERSION}; {REMEDY}"
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    return f"torchattacks needs {', '.join(lacking)}; pip install {' '.join(lacking)}" if lacking else None


def import_library() -> Any:
    """Imports torchattacks, at the first attack, because the import takes seconds; raises UsageError if it is not here."""
    if reason := explain_missing():
        raise UsageError(Kind.MISSING, reason)
    return importlib.import_module("torchattacks")
