"""Conflicts: two folders have different results of one thing, and only the user can say which of them counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from capsbench.errors import Kind, UsageError
from capsbench.merging.sources import Source

T = TypeVar("T")


class Version(NamedTuple, Generic[T]):
    """The result of one folder for a thing that several folders may have, and its file."""

    source: Source
    path: Path
    value: T


class ConflictError(UsageError):
    """Raised for folders that cannot be merged; ``conflicts`` has a line for each conflict."""

    def __init__(self, conflicts: Sequence[str]) -> None:
        count = "1 conflict" if len(conflicts) == 1 else f"{len(conflicts)} conflicts"
        remedy = "{flag:prefer} FOLDER names the folder whose results count; those in {flag:out} are never overwritten"
        problem = f"{count}, nothing was merged; the first: {conflicts[0]}"
        super().__init__(Kind.CONFLICT, problem, flag="FOLDER", expected=remedy)
        self.conflicts = [*conflicts]


@dataclass
class Arbiter:
    """Puts folders in order, and notes where the result of the first one is not the only one and not the user's choice.

    Attributes:
        sources: all folders: the one that is merged into, then the preferred ones, then the others.
        preferred: the folders that the user prefers, the most preferred first.
        conflicts: a line for each conflict so far.
    """

    sources: Sequence[Source]
    preferred: Sequence[Source] = ()
    conflicts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        target = [source for source in self.sources if source.is_target]
        self.sources = [*dict.fromkeys([*target, *self.preferred, *self.sources])]

    def check(
        self,
        title: str,
        versions: Sequence[Version[T]],
        find_difference: Callable[[Version[T], Version[T]], str],
    ) -> None:
        """Notes a conflict if a version differs from the first one, unless the first is what the user prefers.

        Args:
            title: the name of the thing.
            versions: in the order of ``sources``.
            find_difference: describes the difference of two versions; empty if they are the same.
        """
        first, *others = versions
        different = [version for version in others if find_difference(first, version)]
        if not different:
            return
        preferred = next((version for version in versions if version.source in self.preferred), different[0])
        if preferred.source not in self.preferred or find_difference(first, preferred):
            difference = find_difference(first, preferred)
            self.conflicts.append(f"{title}: {first.path} and {preferred.path}: {difference}")
