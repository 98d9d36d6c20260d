"""Makes executors by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capsbench.errors import Kind, UsageError
from capsbench.sources.foreign import import_package

if TYPE_CHECKING:
    from capsbench.running.executors.base import Executor, Place, Settings

EXECUTORS = {
    "local": "capsbench.running.executors.local:LocalExecutor",
    "ray": "capsbench.running.executors.ray.executor:RayExecutor",
    "slurm": "capsbench.running.executors.slurm:SlurmExecutor",
}
"""Name -> module and class. Others are imported when they are asked for, since they need packages of their own."""


def check_executor(name: str) -> None:
    """Raises UsageError for an unknown executor."""
    if name not in EXECUTORS:
        raise UsageError(Kind.UNKNOWN, flag="executor", value=name, expected=tuple(EXECUTORS))


def make_executor(name: str, place: Place, settings: Settings) -> Executor:
    """Makes an executor; raises UsageError for an unknown one, or one whose package is not installed."""
    check_executor(name)
    module, _, attribute = EXECUTORS[name].partition(":")
    try:
        made: Executor = getattr(import_package(module), attribute)(place, settings)
    except ModuleNotFoundError as error:
        remedy = f"pip install 'capsbench[{name}]'"
        raise UsageError(Kind.MISSING, str(error), flag="executor", value=name, expected=remedy) from error
    return made
