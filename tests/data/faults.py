"""The errors of data that cannot be used, as facts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from capsbench.data.formats.published import REMEDY
from capsbench.errors import Kind, UsageError


def usage_error(function: Callable[..., Any], *arguments: Any) -> UsageError:
    """The UsageError that a call raises, which is one line."""
    with pytest.raises(UsageError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return caught.value


def damage(function: Callable[..., Any], *arguments: Any) -> tuple[Path | None, Any]:
    """The damaged file that a call refuses, and what it found in place of what is published."""
    error = usage_error(function, *arguments)
    assert (error.kind, error.expected) == (Kind.DAMAGED, REMEDY)
    return error.file, error.value


def missing_file(function: Callable[..., Any], *arguments: Any) -> Path | None:
    """The file that a call wants to be put into its place by hand."""
    error = usage_error(function, *arguments)
    assert error.kind is Kind.MISSING
    assert "{flag:data_dir}" in str(error.expected)
    return error.file
