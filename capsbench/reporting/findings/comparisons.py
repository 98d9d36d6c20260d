"""Numbers of capsule networks against those of their CNNs, in one results folder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import NamedTuple

from capsbench.measures.soundness import mark_unsound
from capsbench.measures.spec import SHARE, Contest
from capsbench.planning.contender_defaults import defaults_of
from capsbench.presenting.baselines import TOLERANCE
from capsbench.presenting.contenders import BASELINE, baseline_kinds
from capsbench.presenting.format import PERCENT, POINTS, format_interval, format_si
from capsbench.presenting.marks import UNLIKE
from capsbench.presenting.material import Material
from capsbench.presenting.naming import Defaults
from capsbench.presenting.words import TIMES
from capsbench.records.record import keep_one_setting
from capsbench.records.store import Store
from capsbench.reporting.findings.questions import AskedNumber
from capsbench.reporting.sections.budget import Estimate, Group, groups_of
from capsbench.reporting.sections.contests import Number, Value, Values, find_step, judge_difference, list_numbers
from capsbench.reporting.sections.hypotheses import Basis, Finding, find_doubts, judge_claims
from capsbench.stats.differences import estimate_interval, paired_seeds
from capsbench.stats.verdicts import Verdict, judge_by_bonferroni


class Pair(NamedTuple):
    """A capsule network, a CNN beside it, and the CNN's parameters as a multiple of its own (nan if not known)."""

    capsules: str
    cnn: str
    ratio: float

    @property
    def is_equal_in_size(self) -> bool:
        return abs(self.ratio - 1) <= TOLERANCE

    def spell_size(self) -> str:
        """Returns `` (0.6 times the parameters)`` for a CNN of another size."""
        return "" if self.is_equal_in_size or math.isnan(self.ratio) else f" ({self.ratio:.2g} times the parameters)"


class Folder:
    """A results folder, read once.

    Args:
        path: the folder.
        undeclared: the count of numbers that are compared beside those of "who won".
        defaults: those that no name of a contender holds.
    """

    def __init__(self, path: Path, undeclared: int = 0, defaults: Defaults = defaults_of) -> None:
        store = Store(path)
        self.path = path
        self.records, _ = keep_one_setting(store.add_between(store.records()[0]))
        self.material = Material.from_records(self.records, store, (), defaults)
        self.doubts = {basis: find_doubts(self.material, basis) for basis in Basis}
        self.groups = groups_of(self.material)
        self.attacked_groups = groups_of(mark_unsound(self.material))
        # The second family does not count numbers that no contest is about.
        self.comparisons = self.material.verdicts.comparisons + undeclared * sum(
            len(find_pairs(self.material, group)) for group in self.groups
        )

    @cached_property
    def findings(self) -> list[Finding]:
        """The verdicts on the claims of the literature."""
        return judge_claims(self.material)

    def spell_budget(self, title: str) -> str:
        """Returns the title of a group, or of several of one data set, with ``not tuned`` if none of them was tuned."""
        return title if "tuned" in title or self.material.tuned else f"{title}, not tuned"


class Compared(NamedTuple):
    """A number of a capsule network and of its CNN.

    Attributes:
        number: the number.
        group: their budget.
        pair: the two.
        values: the number of each contender of the group.
        verdict: on the difference, capsule network minus CNN. A number with a unit has none that counts: see `is_ratio`.
        doubt: why it decides nothing; empty if nothing speaks against it.
        unlike: true if their trainings differ in more than is compared.
    """

    number: Number
    group: Group
    pair: Pair
    values: Values
    verdict: Verdict
    doubt: str
    unlike: bool

    @property
    def data(self) -> str:
        """The data set and the size."""
        return f"{self.group.dataset}, {self.group.size}"

    @property
    def on(self) -> str:
        """The budget; of a count, which no training changes, the data set and the size."""
        return self.data if is_count(self.number) else self.group.title

    def find_ratios(self) -> list[float]:
        """Returns the ratio of both numbers, one for each seed that both have."""
        ones, others = (self.values[name] for name in self.pair[:2])
        return [ones[seed].value / others[seed].value for seed in sorted(ones.keys() & others.keys())]

    def find_ends(self) -> tuple[float, float, float]:
        """Returns the difference in points, or the median ratio, and the ends of its interval.

        A count is its own interval. The ends are nan for a time, which is not tested, and for one seed.
        """
        if is_ratio(self.number):
            ratio = median(self.find_ratios())
            end = ratio if is_count(self.number) else math.nan
            return ratio, end, end
        mean, half = 100 * self.verdict.difference.mean, 100 * self.verdict.half
        return mean, mean - half, mean + half

    def spell_numbers(self) -> str:
        """Returns both numbers and their difference: ``em ×1 99.0 ± 0.3 %, matched CNN 98.7 ± 0.6 %: +0.3 ± 1.1 points``."""
        sides = [
            f"{name} {self._spell_side(self.values[contender])}"
            for name, contender in zip(self._spell_names(), self.pair[:2], strict=True)
        ]
        unlike = f" {UNLIKE.sign}" if self.unlike else ""
        numbers = f"{', '.join(sides)}: {self._spell_difference()}{unlike}"
        return f"{numbers}; {self.doubt}" if self.doubt else numbers

    def _spell_names(self) -> tuple[str, str]:
        if is_count(self.number):  # labels name budgets and marks, which a count does not depend on
            row = self.group.contenders.loc[self.pair.capsules].to_dict()
            return f"{row['routing']} {TIMES}{row['iterations']}", "CNN" + self.pair.spell_size()
        return self.group.label(self.pair.capsules), self.group.label(self.pair.cnn) + self.pair.spell_size()

    def _spell_side(self, by_seed: Mapping[int, Value]) -> str:
        values = [value.value for value in by_seed.values()]
        if is_count(self.number):
            return format_si(median(values))
        if is_ratio(self.number):
            return f"{median(values):.3g} {self.number.metric.unit}"
        mean, half = estimate_interval(values, find_step(self.values))
        return f"{format_interval(100 * mean, 100 * half, 1, self._find_bounds(PERCENT))} {PERCENT}"

    def _spell_difference(self) -> str:
        if is_ratio(self.number):
            ratios = [
                f"{ratio:.2g}"
                for ratio in (median(self.find_ratios()), min(self.find_ratios()), max(self.find_ratios()))
            ]
            spread = f" ({ratios[1]} to {ratios[2]} over seeds)" if ratios[1] != ratios[2] else ""
            return f"{ratios[0]} times{spread}"
        if self.number.metric.is_share:
            return Estimate.of_verdict(self.verdict).shown(" points", "+")
        return f"{format_interval(100 * self.verdict.difference.mean, 100 * self.verdict.half, 1, '', '+')} {POINTS}"

    def _find_bounds(self, unit: str) -> str:
        """Returns the unit whose bounds cut an interval; none for a fraction that may lie outside of them."""
        return unit if self.number.metric.is_share else ""


def is_count(number: Number) -> bool:
    """Returns true for a count, such as FLOPs: it is the same for every seed, and needs no test."""
    return any(judged.rule == "exact" for judged in number.metric.judged)


def is_ratio(number: Number) -> bool:
    """Returns true for numbers with a unit, of which ratios are shown and, unless they are counts, not tested.

    The times on record are of busy machines: their spread says nothing of another machine.
    """
    return number.metric.unit != SHARE


def find_pairs(material: Material, group: Group) -> list[Pair]:
    """Returns the capsule networks of a group with each of their CNNs, of whatever size."""
    table = group.contenders
    parameters = (
        {} if "parameters" not in table else dict(zip(table.index, table["parameters"].astype(float), strict=True))
    )
    pairs: dict[tuple[str, str], Pair] = {}
    for kind in baseline_kinds(material.summary):
        for capsules, cnn in table[BASELINE + kind].dropna().items():
            if cnn in table.index:
                ratio = parameters.get(cnn, math.nan) / parameters.get(capsules, math.nan)
                pairs[str(capsules), str(cnn)] = Pair(str(capsules), str(cnn), ratio)
    return [*pairs.values()]


def find_numbers(asked: AskedNumber, material: Material) -> list[Number]:
    """Returns the numbers on record that are asked for: contests of a measure, or a metric that no contest is about."""
    if asked.title is None:
        return [
            number
            for number in list_numbers(material.specs)
            if number.measure == asked.measure and asked.metric in (None, number.metric.name)
        ]
    spec = material.specs.get(asked.measure)
    metrics = [metric for metric in spec.metrics if metric.name == asked.metric] if spec else []
    contest = Contest(asked.title, (asked.condition or "",), excludes_collapsed=True)
    return [Number(asked.title, asked.measure, metric, contest) for metric in metrics]


def compare_pairs(folder: Folder, number: Number) -> Iterator[Compared]:
    """Yields the comparisons of a number between capsule networks and their CNNs, budget by budget."""
    at_bound = number.contest.at_headline_bound
    values = number.find_values(folder.material)
    doubts = folder.doubts[Basis.ROBUST if at_bound else Basis.OTHER]
    for group in folder.attacked_groups if at_bound else folder.groups:
        competing = {name: values[name] for name in group.contenders.index if name in values}
        for pair in find_pairs(folder.material, group):
            verdict = _judge_pair(folder, number, competing, pair)
            if verdict is not None:
                doubt = "; ".join(doubts[name] for name in pair[:2] if name in doubts)
                unlike = bool(folder.material.verdicts.unlike(*pair[:2]))
                yield Compared(number, group, pair, competing, verdict, doubt, unlike)


def _judge_pair(folder: Folder, number: Number, values: Values, pair: Pair) -> Verdict | None:
    """Returns the verdict on the capsule network's number minus the CNN's; None without a seed in common."""
    verdicts = folder.material.verdicts
    if pair.capsules not in values or pair.cnn not in values:
        return None
    if number.contest in number.metric.contests and not is_ratio(number):
        return judge_difference(number, values, pair.capsules, pair.cnn, find_step(values), verdicts)
    sides = values[pair.capsules], values[pair.cnn]
    seeds = sorted(sides[0].keys() & sides[1].keys())
    if not seeds or not verdicts.share_search(pair.capsules, pair.cnn):
        return None
    ones, others = ([by_seed[seed].value for seed in seeds] for by_seed in sides)
    return judge_by_bonferroni(paired_seeds(ones, others, find_step(values)), folder.comparisons)
