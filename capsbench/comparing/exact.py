"""Tests without statistics: parameters and FLOPs, collapsed networks, and numbers that should have the same bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from capsbench.comparing.checked import CHANGED, REGRESSION, Finding
from capsbench.comparing.collapse import describe_collapse
from capsbench.comparing.judged import JudgedNumber, Place, list_judged
from capsbench.comparing.lost import Lost, list_lost, select_taken_rows
from capsbench.comparing.pairing import Pairing
from capsbench.comparing.side import Contender, same_bits_expected, to_experiment
from capsbench.presenting.format import spell_seeds
from capsbench.records.cell import Cell
from capsbench.records.record import Record, Row

MOST_DIFFERENCES = 3
"""The most differences of one number that a finding shows."""

LARGEST_COUNT = 2**53
"""The magnitude from which on a float does not hold every whole number."""


class Difference(NamedTuple):
    """A difference of an exact number: the place of its rows, the reference's values and the run's."""

    place: Place
    old: frozenset[float]
    new: float


def find_changed_counts(pairing: Pairing) -> Iterator[Finding]:
    """Finds numbers, such as parameters and FLOPs, that are not those of the reference."""
    names = {to_experiment(cell): pairing.cells[key].rpartition(", seed ")[0] for key, cell in pairing.sources.items()}
    for title, before, now in pairing.comparable:
        for number in list_judged(pairing.specs, "exact"):
            differences = _find_differences(number, before, now, pairing.sources)
            if differences:
                text = f"{number.title}: {_describe_differences(differences, names)}"
                yield Finding(REGRESSION, title, number.title, text)


def find_collapsed(pairing: Pairing) -> Iterator[Finding]:
    """Finds contenders that have collapsed, and had not in the reference."""
    for title, before, now in pairing.comparable:
        text = describe_collapse(before, now, pairing.reference, pairing.current)
        if text:
            yield Finding(REGRESSION, title, "collapse", text)


def find_changed_bits(pairing: Pairing) -> tuple[list[Finding], int]:
    """Finds numbers that the same cell, on the same kind of machine with the same software, should have given again.

    Returns:
        The findings, and the number of records without any.
    """
    findings, identical = [], 0
    for title, before, now in pairing.comparable:
        for seed, record in now.records.items():
            known = before.records.get(seed)
            if known is None or known.cell != record.cell or not same_bits_expected(known, record):
                continue
            lost = list_lost(before, record, pairing)
            measures = _list_changed(select_taken_rows(known, record), record, pairing, lost)
            if measures:
                names = ", ".join(dict.fromkeys(measures))
                text = f"{len(measures)} numbers of seed {seed} are not those of this machine before ({names})"
                findings.append(Finding(CHANGED, title, "bits", text))
            elif not lost:
                identical += 1
    return findings, identical


def _list_changed(known: Sequence[Row], record: Record, pairing: Pairing, lost: Lost) -> list[str]:
    """Returns the measure of each number that differs or is gone, but for lost ones, which are missing.

    A run of fewer networks may lack transfers.
    """
    now = {row.key: row.value for row in record.rows}
    changed = []
    for row in known:
        key = row.key
        is_gone = key not in now and row.condition not in pairing.sources and not lost.has(row)
        if is_gone or (key in now and now[key] != row.value and row[:2] not in pairing.unrepeatable):
            changed.append(row.measure)
    return changed


def _find_differences(
    number: JudgedNumber, before: Contender, now: Contender, sources: Mapping[str, Cell]
) -> dict[Difference, list[int]]:
    """Returns the differences of an exact number with their seeds.

    A row is held against the reference's row of its seed, condition and level; if that seed has none, against those of all seeds.
    """
    known = _collect_values(number, before, sources)
    differences: dict[Difference, list[int]] = {}
    for place, values in _collect_values(number, now, sources).items():
        by_seed = known.get(place, {})
        for seed, value in sorted(values.items()):
            old = frozenset([by_seed[seed]] if seed in by_seed else by_seed.values())
            if old and value not in old:
                differences.setdefault(Difference(place, old, value), []).append(seed)
    return differences


def _collect_values(
    number: JudgedNumber, contender: Contender, sources: Mapping[str, Cell]
) -> dict[Place, dict[int, float]]:
    """Returns place -> seed -> value of an exact number."""
    values: dict[Place, dict[int, float]] = {}
    for seed, record in contender.records.items():
        for place, value in number.find_rows(record, sources).items():
            values.setdefault(place, {})[seed] = value
    return values


def _describe_differences(differences: Mapping[Difference, Sequence[int]], names: Mapping[str, str]) -> str:
    """Returns the first differences in words, with their places and seeds if there are several.

    Args:
        names: condition that stands for a source network -> title of the network.
    """
    texts = []
    for ((condition, level), old, new), seeds in [*differences.items()][:MOST_DIFFERENCES]:
        change = f"{' or '.join(map(_format_exact, sorted(old)))} in the reference, now {_format_exact(new)}"
        strength = "" if level is None else f" {level:g}"
        place = f" ({names.get(condition, condition)}{strength}, {spell_seeds(seeds)})"
        texts.append(change + (place if len(differences) > 1 else ""))
    more = len(differences) - len(texts)
    return "; ".join([*texts, *([f"and {more} more"] if more else [])])


def _format_exact(value: float) -> str:
    """Returns a number with all of its digits."""
    is_count = float(value).is_integer() and abs(value) < LARGEST_COUNT
    return f"{int(value):,}" if is_count else f"{value:,}"
