"""Strict parsing of JSON from untrusted files: every value has its declared type, and no object has a key twice."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from capsbench.errors import reason_of

T = TypeVar("T")


class UnfitError(ValueError):
    """Raised for JSON of the wrong form; the message names the first fault and its place: ``rows.3.value: expected ...``."""


def parse_json(adapter: TypeAdapter[T], content: bytes) -> T:
    """Parses JSON into the type of an adapter.

    Raises:
        UnfitError: the content is not JSON or not of that type, or an object has a key twice (parsers differ in which they take).
    """
    try:
        parsed = adapter.validate_json(content)
        json.loads(content, object_pairs_hook=_check_keys)
    except ValidationError as error:
        raise UnfitError(_fault_of(error)) from error
    except UnfitError:
        raise
    except (
        ValueError,
        RecursionError,
    ) as error:  # values that the adapter ignores may be nested or long beyond Python's limits
        raise UnfitError(str(error)) from error
    return parsed


def _check_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns an object of JSON; raises UnfitError if it has a key twice. Called for every object, a thousand a record."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise UnfitError(f"it has {twice[:100]!r} twice")
    return fields


def _fault_of(error: ValidationError) -> str:
    where = ".".join(
        str(part)[:100] for part in error.errors()[0]["loc"][:10]
    )  # names in an untrusted file may be of any length
    return f"{where}: {reason_of(error)}" if where else reason_of(error)
