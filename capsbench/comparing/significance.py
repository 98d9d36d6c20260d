"""Statistical tests of judged numbers, of times and of the checks on attacks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from statistics import fmean

import numpy as np

from capsbench.comparing.checked import ALL, Test
from capsbench.comparing.judged import JudgedNumber, list_judged, mean_by_seed, ratios_to_median
from capsbench.comparing.pairing import Pairing
from capsbench.comparing.side import Contender
from capsbench.stats.differences import FEWEST_SEEDS
from capsbench.stats.moderation import chance_of_drop, chance_of_failures, moderate_variances
from capsbench.stats.steps import step_of
from capsbench.stats.variances import Variance, variance_of_seeds

BySeed = Mapping[int, float]
"""Seed -> a number."""


def judge_numbers(pairing: Pairing, tolerance: float) -> Iterator[Test]:
    """Tests every judged number of each contender with enough seeds, then its mean over contenders.

    Args:
        tolerance: the loss that is no regression, as a share.
    """
    means: list[tuple[JudgedNumber, tuple[BySeed, BySeed]]] = []
    for judged in list_judged(pairing.specs, "mean"):
        numbers: dict[str, tuple[BySeed, BySeed]] = {}
        for title, before, now in pairing.comparable:
            both = _judge_pair(judged, before, now, pairing)
            if len(both[0]) >= FEWEST_SEEDS and both[1]:
                numbers[title] = both
        yield from _test_contenders(judged, numbers, pairing, tolerance)
        if len(numbers) > 1:
            mean = mean_by_seed(old for old, _ in numbers.values()), mean_by_seed(new for _, new in numbers.values())
            if len(mean[0]) >= FEWEST_SEEDS and mean[1]:
                means.append((judged, mean))
    for judged, both in means:
        yield from _test_contenders(judged, {ALL: both}, pairing, tolerance)


def judge_times(pairing: Pairing, slower: float) -> Iterator[Test]:
    """Tests each time as a ratio to the median of its run, by seed: the speed of the machine cancels.

    Args:
        slower: the factor that is no regression.
    """
    for number in list_judged(pairing.specs, "time"):
        before = ratios_to_median({pair.title: _find_times(number, pair.reference) for pair in pairing.comparable})
        now = ratios_to_median({pair.title: _find_times(number, pair.current) for pair in pairing.comparable})
        titles = [title for title in before if len(before[title]) >= FEWEST_SEEDS and now.get(title)]
        variances = _moderate_variances([before[title] for title in titles])
        for title, variance in zip(titles, variances, strict=True):
            old, new = fmean(before[title].values()), fmean(now[title].values())
            worse, better = _find_chances(new - old, variance, len(before[title]), len(now[title]), math.log(slower))
            texts = f"{math.exp(old):.2f} times the median contender's", f"{math.exp(new):.2f} times"
            yield Test(title, number.title, *texts, math.exp(new - old), worse, better)


def judge_sanity_checks(pairing: Pairing) -> Iterator[Test]:
    """Tests the rate at which each check on attacks failed, over the seeds of all contenders together."""
    failures: dict[tuple[str, str, str], tuple[list[bool], list[bool]]] = {}
    checks = list_judged(pairing.specs, "check")
    for _, *sides in pairing.comparable:
        for place, contender in enumerate(sides):
            for record in contender.records.values():
                for row, check in product(record.rows, checks):
                    if check.is_of(row):
                        key = row.measure, row.metric, check.name_check(row)
                        failures.setdefault(key, ([], []))[place].append(row.value < 1)
    for (_, _, name), (old, new) in failures.items():
        if old and new:
            texts = f"failed {sum(old)} of {len(old)} times", f"{sum(new)} of {len(new)}"
            drop = 100 * (fmean(new) - fmean(old))
            worse = chance_of_failures(sum(new), len(new), sum(old), len(old))
            better = chance_of_failures(len(new) - sum(new), len(new), len(old) - sum(old), len(old))
            yield Test(ALL, name, *texts, drop, worse, better)


def _judge_pair(judged: JudgedNumber, before: Contender, now: Contender, pairing: Pairing) -> tuple[BySeed, BySeed]:
    """Returns a judged number by seed on either side, of the rows that all records with any of them have.

    So a transfer is judged by the sources that both have.
    """
    rows = [
        {seed: judged.find_rows(record, pairing.sources) for seed, record in contender.records.items()}
        for contender in (before, now)
    ]
    places = [set(by_place) for side in rows for by_place in side.values() if by_place]
    common = set.intersection(*places) if places else set()
    numbers: list[dict[int, float]] = []
    for side in rows:
        by_seed = {seed: judged.average([row[place] for place in common]) for seed, row in side.items() if row}
        numbers.append({seed: value for seed, value in by_seed.items() if value is not None})
    return numbers[0], numbers[1]


def _test_contenders(
    judged: JudgedNumber, numbers: Mapping[str, tuple[BySeed, BySeed]], pairing: Pairing, tolerance: float
) -> Iterator[Test]:
    """Tests a judged number of some contenders: title -> seed -> number, in the reference and in the run."""
    values = [value for both in numbers.values() for side in both for value in side.values()]
    step = step_of(values, _count_images(judged, pairing))
    variances = _moderate_variances([before for before, _ in numbers.values()], step)
    for (title, (before, now)), variance in zip(numbers.items(), variances, strict=True):
        old, new = fmean(before.values()), fmean(now.values())
        drop = (old - new) * judged.sign_of_drop
        worse, better = _find_chances(drop, variance, len(before), len(now), tolerance)
        yield Test(title, judged.title, judged.describe(old), judged.describe(new), 100 * drop, worse, better)


def _find_chances(
    drop: float, variance: Variance, reference: int, current: int, tolerance: float
) -> tuple[float, float]:
    """Returns the p-values of a drop beyond the tolerance and of a rise beyond it; ``reference``, ``current``: seeds."""
    return (
        chance_of_drop(drop, variance, reference, current, tolerance),
        chance_of_drop(-drop, variance, reference, current, tolerance),
    )


def _count_images(judged: JudgedNumber, pairing: Pairing) -> set[int]:
    """Returns the counts of images that a judged number may be a share of, if it is that of one row."""
    return {
        count
        for dataset, condition in product(pairing.datasets, judged.judged.conditions or ("",))
        for count in pairing.steps.images(dataset, judged.measure, condition)
    }


def _find_times(number: JudgedNumber, contender: Contender) -> dict[int, float]:
    """Returns the time of each seed that has one."""
    values = {seed: number.find_time(record) for seed, record in contender.records.items()}
    return {seed: value for seed, value in values.items() if value is not None}


def _moderate_variances(numbers: Sequence[BySeed], step: float = 0.0) -> list[Variance]:
    """Returns the variance of each contender's numbers, which are multiples of a step, shrunk towards the typical one."""
    variances = [variance_of_seeds(np.array([*by_seed.values()]), step, rounded=1) for by_seed in numbers]
    return moderate_variances(
        [len(by_seed) * variance.value for by_seed, variance in zip(numbers, variances, strict=True)],
        [variance.freedom for variance in variances],
    )
