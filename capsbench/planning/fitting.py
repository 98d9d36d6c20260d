"""Decides which points of a matrix fit, where a user asks for all routings, networks or baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, TypeVar

from capsbench.errors import Kind, UsageError
from capsbench.measures.build import explain_unfit
from capsbench.planning.request import MEASURE_FLAG, spell_flag
from capsbench.records.cell import Cell

T = TypeVar("T")


class Fitting:
    """Leaves out points that ``all`` makes and that do not fit; refuses a value that was given by name and fits nowhere.

    A point that conflicts with another part of the request does not fit. A value that is invalid by itself is refused at once.

    Args:
        expanded: the flags whose values are those of ``all``.
    """

    def __init__(self, expanded: Set[str]) -> None:
        self._expanded = expanded
        self._standing: set[tuple[str, Any]] = set()
        self._refused: list[tuple[Mapping[str, Any], UsageError]] = []

    def attempt(self, point: Mapping[str, Any], plan: Callable[[], T]) -> T | None:
        """Returns what is planned of a point, or None if the point does not fit and ``all`` made it.

        Raises:
            UsageError: the point does not fit, and none of its values is one of ``all``.
        """
        made_by_all = self._expanded & point.keys()
        try:
            planned = plan()
        except UsageError as fault:
            if not made_by_all or fault.kind is not Kind.CONFLICT:
                raise
            self._refused.append((point, fault))
            return None
        self._standing.update(point.items())
        return planned

    def refuse_unfit(self) -> None:
        """Raises UsageError for a value that was given by name and fits nowhere, or if nothing of ``all`` fits."""
        flags = {name for name, _ in self._standing}
        for point, fault in self._refused:
            named = {(name, value) for name, value in point.items() if name not in self._expanded}
            if not named <= self._standing or not self._expanded & point.keys() <= flags:
                raise fault

    def describe(self) -> list[str]:
        """Returns a line for each flag that is ``all`` of what it leaves out, with the reasons."""
        reasons: dict[str, dict[str, dict[str, None]]] = {}
        for point, fault in self._refused:
            by_all = [name for name in point if name in self._expanded]
            flag = next((name for name in by_all if name == fault.flag), by_all[0])
            names = reasons.setdefault(flag, {}).setdefault(_explain(fault, flag), {})
            names[str(point[flag])] = None
        return [describe_left_out(flag, by_reason) for flag, by_reason in reasons.items()]


def describe_left_out(flag: str, by_reason: Mapping[str, Iterable[str]]) -> str:
    """Returns a line on the names that a flag's ``all`` leaves out, by the reasons."""
    parts = (f"{', '.join(names)} ({reason})" for reason, names in by_reason.items())
    return f"left out of {spell_flag(flag)} all: {'; '.join(parts)}"


def describe_unfit_measures(cells: Sequence[Cell]) -> list[str]:
    """Returns a line on the measures that can be taken of none of the cells, where there are such."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in explain_unfit(cells).items():
        by_reason.setdefault(reason, []).append(name)
    return [describe_left_out(MEASURE_FLAG, by_reason)] if by_reason else []


def _explain(fault: UsageError, flag: str) -> str:
    """Returns the reason of a fault in few words, without the flag that is ``all`` and without a remedy."""
    other = None if fault.flag == flag else fault.flag
    value = None if other is None else fault.value
    return UsageError(fault.kind, fault.problem, flag=other, value=value).describe(spell_flag)
