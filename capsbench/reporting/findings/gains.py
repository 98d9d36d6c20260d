"""The points of the picture of gains and costs, from the records of several results folders."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from capsbench.measures.cost.spec import FLOPS
from capsbench.measures.speed.spec import STEP_TIME
from capsbench.presenting.figures.gains import COUNT, DOUBTFUL, Gain
from capsbench.presenting.words import spell_count
from capsbench.reporting.findings.comparisons import Compared, Folder, compare_pairs, find_numbers, is_count, is_ratio
from capsbench.reporting.findings.questions import AskedNumber
from capsbench.reporting.sections.contests import list_numbers
from capsbench.stats.verdicts import Outcome

COSTS = tuple(
    AskedNumber(measure=measure, metric=metric, condition=condition, title=title)
    for (measure, metric, condition), title in (
        (FLOPS, "operations for an image"),
        (STEP_TIME, "time of a training step"),
    )
)
"""The numbers of which the picture has ratios."""

UNITS = ("points", "times")


def collect_gains(folders: Sequence[Folder]) -> tuple[list[Gain], list[Gain]]:
    """Returns the gains of all contests in points, and the costs as ratios, against CNNs of equal size."""
    contests = [number for folder in folders for number in list_numbers(folder.material.specs) if not is_ratio(number)]
    costly = [number for asked in COSTS for folder in folders for number in find_numbers(asked, folder.material)]
    gains, costs = (
        [
            to_gain(compared)
            for number in dict.fromkeys(numbers)
            for folder in folders
            for compared in compare_pairs(folder, number)
            if compared.pair.is_equal_in_size
        ]
        for numbers in (contests, costly)
    )
    return gains, [*dict.fromkeys(costs)]  # two folders may have the same counts


def to_gain(compared: Compared) -> Gain:
    """Returns a comparison as a point of the picture, with three digits, which another processor does not change."""
    number, verdict = compared.number, compared.verdict
    mean, low, high = compared.find_ends()
    if not is_ratio(number) and not number.metric.higher_is_better:
        mean, low, high = -mean, -high, -low
    row = compared.group.contenders.loc[compared.pair.capsules].to_dict()
    result = str(Outcome.NOT_TESTED if is_ratio(number) else verdict.outcome)
    result = DOUBTFUL if compared.doubt else COUNT if is_count(number) else result
    n = verdict.difference.seeds
    on = compared.on if is_count(number) else f"{compared.on}, {spell_count(n, compared.group.unit_of_n)}"
    mean, low, high = (float(f"{end:.3g}") for end in (mean, low, high))
    title = number.contest.title
    return Gain(title, compared.data, on, str(row["routing"]), int(row["iterations"]), mean, low, high, result)


def encode_gains(gains: Iterable[Gain], costs: Iterable[Gain]) -> str:
    """Returns the points of the picture as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("unit", *Gain._fields))
    for unit, points in zip(UNITS, (gains, costs), strict=True):
        writer.writerows((unit, *point) for point in points)
    return file.getvalue()
