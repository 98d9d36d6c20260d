"""Suites: requests as TOML files. Those beside this file ship with capsbench and are known by their names."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from capsbench.errors import UsageError
from capsbench.registry import unknown

FOLDER = Path(__file__).parent


def suite_names() -> list[str]:
    """The suites that ship with capsbench."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_suite(name: str | Path) -> dict[str, Any]:
    """The request of a suite, by its name or its file; raises UsageError, naming the file, for one that cannot be read.

    A suite has the names of the command line's flags: ``routing = ["dynamic", "em"]``, ``train-size = 1000``; options of
    networks and routings stand in a table ``[axis]``; ``description`` is for people.
    """
    path = FOLDER / f"{name}.toml" if str(name) in suite_names() else Path(name)
    if not path.exists():
        raise UsageError(f"--suite: {unknown(str(name), suite_names())}, or a TOML file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"--suite {name}: {path} is not TOML that can be read: {error}") from error
    content.pop("description", None)
    options = content.pop("axis", {})
    if not isinstance(options, dict):
        raise UsageError(f"--suite {name}: axis is a table of options, [axis], not {options!r}")
    _check_names(name, content)
    return {**content, **options}


def describe_suite(name: str) -> str:
    """The suite's own description, in one line."""
    return str(tomllib.loads((FOLDER / f"{name}.toml").read_text()).get("description", ""))


def _check_names(suite: str | Path, content: dict[str, Any]) -> None:
    from capsbench.cell import asked_fields
    from capsbench.matrix import BASELINE_FLAG

    known = [name.replace("_", "-") for name in asked_fields()] + [BASELINE_FLAG]
    for key in content:
        if key.replace("_", "-") not in known:
            raise UsageError(f"--suite {suite}: key {unknown(key, known)}; options go under [axis]")
