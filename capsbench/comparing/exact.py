"""Tests without statistics: parameters and FLOPs, collapsed networks, and numbers that should have the same bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from capsbench.comparing.checked import CHANGED, REGRESSION, Finding
from capsbench.comparing.collapse import describe_collapse
from capsbench.comparing.judged import list_judged
from capsbench.comparing.lost import Lost, list_lost, select_taken_rows
from capsbench.comparing.pairing import Pairing
from capsbench.comparing.side import same_bits_expected
from capsbench.records.record import Record, Row


def find_changed_counts(pairing: Pairing) -> Iterator[Finding]:
    """Finds parameters and FLOPs that are not those of the reference."""
    for title, before, now in pairing.comparable:
        for number in list_judged(pairing.specs, "exact"):
            old, new = (
                {row.value for record in contender.records.values() for row in record.rows if number.is_of(row)}
                for contender in (before, now)
            )
            if old and new and old != new:
                text = f"{number.title}: {_format_counts(old)} in the reference, now {_format_counts(new)}"
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
    now = {_key_of(row): row.value for row in record.rows}
    changed = []
    for row in known:
        key = _key_of(row)
        is_gone = key not in now and row.condition not in pairing.sources and not lost.has(row)
        if is_gone or (key in now and now[key] != row.value and row[:2] not in pairing.unrepeatable):
            changed.append(row.measure)
    return changed


def _key_of(row: Row) -> tuple[object, ...]:
    return row.measure, row.metric, row.condition, row.level


def _format_counts(values: set[float]) -> str:
    return " or ".join(f"{value:,.0f}" for value in sorted(values))
