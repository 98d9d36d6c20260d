"""Reasons why a contender that two folders share, or some of its measures, cannot be compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from capsbench.comparing.data import other_data
from capsbench.comparing.side import Contender, Side, label_of, other_hardware
from capsbench.measures.accuracy.spec import ACCURACY
from capsbench.records.cell import DATA
from capsbench.registry import measure_name
from capsbench.sources import changed_parts

TIMES_AND_MEMORY = "times and memory"


class Obstacle(NamedTuple):
    """A reason not to compare; ``what`` is empty if it concerns all of a contender, else ``measures`` are left out."""

    what: str
    reason: str
    measures: frozenset[str] = frozenset()


def find_obstacles(a: Contender, b: Contender, sides: tuple[Side, Side]) -> list[Obstacle]:
    """Returns all reasons not to compare two contenders, or only the one that concerns all of their numbers."""
    data = other_data(a, b)
    if data.parts and data.certain:
        return [Obstacle("", data.told)]
    whole = _find_edited_source(a, b) or _find_other_labels(a, b, sides)
    partial = [*_find_other_settings(a, b), *_find_other_hardware(a, b)]
    return [*([Obstacle("data", data.told)] if data.parts else []), *([whole] if whole else partial)]


def _find_edited_source(a: Contender, b: Contender) -> Obstacle | None:
    parts = [part for part in changed_parts(a.cell.code, b.cell.code) if part != DATA]
    edited = [f"{part}{_list_edited_modules(part, a, b)}" for part in parts]
    return Obstacle("", f"another source of the user's own {', '.join(edited)}") if edited else None


def _list_edited_modules(part: str, a: Contender, b: Contender) -> str:
    """Returns the modules in which a user's own part differs, in parentheses; empty if the records do not have them."""
    trainings = [next(iter(contender.records.values())).training for contender in (a, b)]
    first, second = (training.sources.get(part, {}) if training else {} for training in trainings)
    modules = changed_parts(first, second) if first and second else []
    return f" (in {', '.join(modules)})" if modules else ""


def _find_other_labels(a: Contender, b: Contender, sides: tuple[Side, Side]) -> Obstacle | None:
    """Compares the labels of the test images as far as both sides kept them; older records have no digest of their data."""
    labels = [
        {
            tuple(arrays["label"].flatten().tolist())
            for record in contender.records.values()
            if "label" in (arrays := side.store.kept(record, ACCURACY))
        }
        for contender, side in zip((a, b), sides, strict=True)
    ]
    if all(labels) and labels[0] != labels[1]:
        return Obstacle("", "other test images: their labels differ")
    return None


class _Taken(NamedTuple):
    """A measure in one setting: the versions that took it, and the labels of its numbers (`label_of`)."""

    versions: set[int]
    labels: set[str]


def _find_other_settings(a: Contender, b: Contender) -> Iterator[Obstacle]:
    """Finds measures without a common setting, and settings that were taken by different versions."""
    first, second = _settings_by_measure(a), _settings_by_measure(b)
    for name in sorted(first.keys() & second.keys()):
        ones, others = first[name], second[name]
        if ones.keys().isdisjoint(others):
            labels = frozenset[str]().union(*(taken.labels for taken in (*ones.values(), *others.values())))
            reason = f"measured as {' or '.join(sorted(ones))} and as {' or '.join(sorted(others))}"
            yield Obstacle(name, reason, labels)
        for spec in sorted(ones.keys() & others.keys()):
            if ones[spec].versions != others[spec].versions:
                versions = [" or ".join(map(str, sorted(side[spec].versions))) for side in (ones, others)]
                reason = f"measured by version {versions[0]} and by version {versions[1]}"
                yield Obstacle(spec, reason, frozenset(ones[spec].labels | others[spec].labels))


def _settings_by_measure(contender: Contender) -> dict[str, dict[str, _Taken]]:
    """Returns measure -> spec -> how it was taken."""
    settings: dict[str, dict[str, _Taken]] = {}
    for record in contender.records.values():
        for spec, measurement in record.measures.items():
            taken = settings.setdefault(measure_name(spec), {}).setdefault(spec, _Taken(set(), set()))
            taken.versions.add(measurement.version)
            taken.labels.update(label_of(row, spec) for row in measurement.rows)
    return settings


def _find_other_hardware(a: Contender, b: Contender) -> Iterator[Obstacle]:
    hardware = other_hardware(a, b)
    if hardware:
        yield Obstacle(TIMES_AND_MEMORY, f"other hardware: {hardware}", frozenset({TIMES_AND_MEMORY}))
