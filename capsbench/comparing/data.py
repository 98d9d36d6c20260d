"""Comparison of the images and labels of two sides, as far as their records have digests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from capsbench.comparing.checked import CHANGED, FAILED, Finding
from capsbench.comparing.side import Contender, same_bits_expected
from capsbench.records.cell import DATA
from capsbench.records.record import TRAINING, Record, digests_of_data
from capsbench.sources import changed_parts


class OtherData(NamedTuple):
    """In which parts the data of two contenders differ, as ``test labels`` or ``data of affine``, and whether that counts.

    ``certain`` is False where pixels alone differ, which may be their last bits: of another machine or other software.
    """

    parts: tuple[str, ...]
    certain: bool

    @property
    def told(self) -> str:
        return f"other data: {', '.join(self.parts)} differ" + (
            "" if self.certain else ", perhaps in their last bits alone: another machine or other software made them"
        )


def other_data(a: Contender, b: Contender) -> OtherData:
    """In what the data of two contenders differ in any of their common seeds; of none, in the first record of either side."""
    parts: dict[str, None] = {}  # in the order in which they are found
    certain = False
    common = a.records.keys() & b.records.keys()
    pairs = [(a.records[seed], b.records[seed]) for seed in sorted(common)] or [
        (next(iter(a.records.values())), next(iter(b.records.values())))
    ]
    for one, other in pairs:
        first, second = digests_of_data(one), digests_of_data(other)
        names = [name for name in first if name in second and first[name] != second[name]]
        parts |= dict.fromkeys(_list_parts(one, other, names))
        labels = any(_labels_of(first[name]) != _labels_of(second[name]) for name in names)
        certain |= labels or (bool(names) and same_bits_expected(one, other))
    return OtherData(tuple(parts), certain)


def find_other_data(title: str, before: Contender, now: Contender) -> Iterator[Finding]:
    """Finds a contender whose data differ from the reference's; with other labels it does not pass."""
    data = other_data(before, now)
    if data.certain:
        yield Finding(FAILED, title, DATA, f"{data.told}; `capsbench check --update` makes a new reference")
    elif data.parts:
        yield Finding(CHANGED, title, DATA, data.told)


def note_unknown_data(pairs: Iterable[tuple[Contender, Contender]]) -> Iterator[str]:
    """A line if one side alone of some contenders has digests of its data, so that it is not known whether both had the same."""
    digests = [
        tuple({name for record in contender.records.values() for name in digests_of_data(record)} for contender in pair)
        for pair in pairs
    ]
    unknown = sum(bool(first or second) and first.isdisjoint(second) for first, second in digests)
    if unknown:
        yield (
            f"data not known: of {unknown} of {len(digests)} contenders either the reference or the run alone has digests of "
            "its images and labels, so that none can be compared"
        )


def _list_parts(one: Record, other: Record, names: list[str]) -> Iterator[str]:
    for name in names:
        if name != TRAINING:
            yield f"data of {name}"
            continue
        first, second = (record.training.sources.get(DATA, {}) if record.training else {} for record in (one, other))
        yield from changed_parts(first, second) or ["data of the training"]


def _labels_of(digest: str) -> str:
    return digest.partition("-")[0]
