"""The images of a user's own data sets, as a part of the identity of cells: other images make another cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from capsbench.data.base import load_splits
from capsbench.data.digest import digest_parts, join_digests
from capsbench.errors import Kind, UsageError
from capsbench.planning.matrix import PlannedCell
from capsbench.records.cell import DATA
from capsbench.sources import changed_parts


def identify_data(planned: Sequence[PlannedCell], folder: Path, leave_out: bool = False) -> list[PlannedCell]:
    """The cells with a digest of their data where that is a user's own, each of which is loaded twice; others as they are.

    Args:
        folder: the data folder.
        leave_out: leave cells as they are whose data set cannot be had, rather than raise.

    Raises:
        UsageError: a data set cannot be had, or its two loads differ.
    """
    loaded: dict[str, dict[str, str]] = {}
    for name in sorted({each.cell.dataset for each in planned if "dataset" in each.cell.code}):
        try:
            loaded[name] = _load_twice(name, folder)
        except UsageError:
            if not leave_out:
                raise
    return [_identify(each, loaded[each.cell.dataset]) if each.cell.dataset in loaded else each for each in planned]


def _load_twice(name: str, folder: Path) -> dict[str, str]:
    parts, again = (digest_parts(load_splits(name, folder)) for _ in range(2))
    if other := changed_parts(parts, again):
        problem = f"not the same at every load: {', '.join(other)}"
        remedy = "draw with a seed of its own, in a fixed order of files"
        raise UsageError(Kind.CONFLICT, problem, flag="dataset", value=name, expected=remedy)
    return parts


def _identify(planned: PlannedCell, parts: dict[str, str]) -> PlannedCell:
    code = {**planned.cell.code, DATA: join_digests(parts)}
    return replace(planned, cell=planned.cell.model_copy(update={"code": code}), data=parts)
