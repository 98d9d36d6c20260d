"""Finds a user's own parts that were edited since a cell was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from capsbench.records.cell import Cell
from capsbench.records.parts import Parts
from capsbench.sources import changed_parts, libraries

UNDO = "undo the edit, or train it anew"
"""The remedy for a network whose own parts were edited."""


def find_edits(cell: Cell, sources: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Returns the edited own parts of a cell: ``routing my:Mine`` -> the modules that were edited.

    Args:
        sources: `Parts.digest_modules` at the time of the training; for a part that is not in it, no module is named.
    """
    parts = Parts.from_cell(cell)
    digests, modules = parts.digest_sources(), parts.digest_modules()
    backbone = {"backbone": libraries.describe_version(cell.backbone)} if "backbone" in cell.code else {}
    changed: dict[str, list[str]] = {
        f"backbone {cell.backbone}": [] for name in backbone if cell.code[name] != backbone[name]
    }
    return changed | {
        str(part): changed_parts(sources[field], modules.get(field, {})) if field in sources else []
        for field, part in parts.by_field.items()
        if cell.code.get(field) != digests.get(field)
    }


def describe_edits(edited: Mapping[str, Sequence[str]]) -> str:
    """Returns `find_edits` as a phrase: ``edited since it was trained: routing my:Mine (in helper)``."""
    named = (f"{part} (in {', '.join(modules)})" if modules else part for part, modules in edited.items())
    return f"edited since it was trained: {', '.join(named)}"
