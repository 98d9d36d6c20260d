"""The source code that determines a user's own component, across the modules that it imports."""

from capsbench.sources.blame import describe_error, find_own_line
from capsbench.sources.closure import Source, changed_parts, forget_modules, read_source
from capsbench.sources.version import read_version

__all__ = [
    "Source",
    "changed_parts",
    "describe_error",
    "find_own_line",
    "forget_modules",
    "read_source",
    "read_version",
]
