"""JSON of files that may be anyone's: each object has each of its keys once, and all is of the type that it has to be."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from capsbench.errors import reason_of

T = TypeVar("T")


class UnfitError(ValueError):
    """JSON that is not what it should be; the message says what is wrong first, and where: ``rows.3.value: expected ...``."""


def parse_json(adapter: TypeAdapter[T], content: bytes) -> T:
    """What JSON holds.

    Raises:
        UnfitError: it is no JSON, or not of that type; or an object has a key twice, of which readers take one or the other.
    """
    try:
        found = adapter.validate_json(content)
        json.loads(content, object_pairs_hook=_check_keys)
    except ValidationError as error:
        raise UnfitError(_fault_of(error)) from error
    except UnfitError:
        raise
    except (ValueError, RecursionError) as error:  # what is passed over may be of any depth and length
        raise UnfitError(str(error)) from error
    return found


def _check_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise UnfitError(f"it has {next(key for key in keys if keys.count(key) > 1)[:100]!r} twice")
    return found


def _fault_of(error: ValidationError) -> str:
    where = ".".join(str(part)[:100] for part in error.errors()[0]["loc"][:10])  # its names may be of any length
    return f"{where}: {reason_of(error)}" if where else reason_of(error)
