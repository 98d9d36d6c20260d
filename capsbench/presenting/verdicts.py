"""All comparisons of a report, each made once: all tables and claims read the same verdict on a pair.

The primary family are the differences in test accuracy between capsule networks and their baselines, which the headline table
shows: judged together by Holm's method. Everything else that a report compares is the second family, judged by Bonferroni's: as
many comparisons as it could make, since what it shows of them depends on who is first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache

from capsbench.measures.accuracy.spec import ACCURACY, TEST_ACCURACY
from capsbench.presenting.paired import PairName, Pairs, judge_seeds
from capsbench.presenting.steps import Steps
from capsbench.presenting.tuned import have_different_spaces
from capsbench.records.record import TRAINING, Record, have_different_data
from capsbench.records.specs import TRAINING_SPEC, specs_of
from capsbench.records.tuning import TUNED
from capsbench.records.tuning.convergence import AUTO_EPOCHS
from capsbench.stats.differences import ALPHA, Difference
from capsbench.stats.verdicts import Verdict, judge_by_bonferroni, judge_by_holm

ORIGIN = {"commit": "commit", "torch": "torch", "cpu": "machine", "gpu": "machine"}
"""Facts of a training that may change accuracies -> their names."""

ACCURACY_CLAIMED = frozenset({"affnist", "affnist-full", "multimnist"})
"""The data sets on which a claim of the literature names an accuracy of one contender."""

Compare = Callable[[Mapping[int, str], Mapping[int, str]], Difference]
"""The cells of two contenders by seed -> the difference of one and the other."""

PRIMARY, SECOND = "primary", "second"


class Verdicts:
    """The verdicts on the differences between some records' contenders.

    Args:
        records: those that did not fail.
        pairs: has the predictions of the test images.
        budget: fields of a cell in which contenders that are compared do not differ.
        effects: whether effects of choices are shown, of which there are no more than contenders.
        steps: of the numbers of these records.
        sequences: the pairs of contenders whose seeds were added until their difference in test accuracy was decided.
    """

    def __init__(
        self,
        records: Sequence[Record],
        pairs: Pairs,
        budget: Sequence[str],
        effects: bool = False,
        steps: Steps | None = None,
        sequences: Collection[PairName] = (),
    ) -> None:
        self._pairs = pairs
        self.steps = steps or Steps(records)
        self._cells: dict[str, dict[int, Record]] = {}
        for record in records:
            self._cells.setdefault(record.cell.contender, {})[record.cell.seed] = record
        self._accuracy = {
            record.cell.id: row.value for record in records for row in record.rows if row[:3] == TEST_ACCURACY
        }
        self._count = count_comparisons(records, budget) + effects * len(self._cells)
        self._sequences = {*sequences}
        self._levels: dict[PairName, float] = {}
        self._primary: dict[tuple[str, str], Verdict] = {}
        self.difference = cache(self._find_difference)

    @property
    def comparisons(self) -> int:
        """The number of comparisons that the second family could have."""
        return max(1, self._count - len(self._primary))

    def judge_baselines(self, baselines: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Verdict]:
        """Makes the primary family: the verdicts on capsule networks minus their baselines, for pairs with a seed in common.

        Args:
            baselines: pairs of contenders.
        """
        known = {pair: apart for pair in baselines if (apart := self.difference(*pair)) is not None}
        judged = zip(known, judge_by_holm([*known.values()]), strict=True)
        self._primary = {pair: self._set_level(pair, verdict) for pair, verdict in judged}
        return self._primary

    def of_accuracy(self, one: str, other: str) -> Verdict | None:
        """Returns the verdict on one contender's test accuracy minus another's; None without a seed in common."""
        if (one, other) in self._primary:
            return self._primary[one, other]
        if (other, one) in self._primary:
            return self._primary[other, one].swap_sides()
        apart = self.difference(one, other)
        return None if apart is None else self._set_level((one, other), self.judge(apart))

    def judge(self, difference: Difference) -> Verdict:
        """Returns the verdict on a difference of the second family."""
        return judge_by_bonferroni(difference, self.comparisons)

    def family(self, one: str, other: str) -> str:
        """Returns the family of the difference in test accuracy between two contenders."""
        return PRIMARY if {(one, other), (other, one)} & self._primary.keys() else SECOND

    def unlike(self, one: str, other: str) -> tuple[str, ...]:
        """Returns the facts in which two trainings of a seed differ: ``commit``, ``data``, ``machine``, ``space``, ``torch``."""
        first, second = self._cells[one], self._cells[other]
        facts = [
            name
            for seed in first.keys() & second.keys()
            for fact, name in ORIGIN.items()
            if _find_origin(first[seed])[fact] != _find_origin(second[seed])[fact]
        ]
        facts += ["data" for seed in first.keys() & second.keys() if have_different_data(first[seed], second[seed])]
        pairs = [(first[seed], second[seed]) for seed in first.keys() & second.keys()]
        facts += ["space" for pair in pairs if have_different_spaces(*pair)]
        return tuple(dict.fromkeys(sorted(facts)))

    def share_search(self, one: str, other: str) -> bool:
        """Returns true for two contenders of no search, or of searches for settings and epochs with the same budget.

        A network that was trained elsewhere has a budget that nobody knows.
        """
        return self._find_search(one) == self._find_search(other)

    def share_seeds(self, one: str, other: str) -> bool:
        """Returns true for two contenders with a seed in common."""
        return bool(self._cells[one].keys() & self._cells[other].keys())

    def _find_difference(self, one: str, other: str) -> Difference | None:
        """Returns the difference in test accuracy, over the seeds for which both have it.

        There is none between a contender of a search and one of none, or of a search with another budget.
        """
        if not self.share_search(one, other):
            return None
        first, second = (self._find_tested(name) for name in (one, other))
        if not first.keys() & second.keys():
            return None
        step = self.steps.of(next(iter(self._cells[one].values())).cell.dataset, *TEST_ACCURACY)

        def compare(ones: Mapping[int, str], others: Mapping[int, str]) -> Difference:
            return self._pairs.difference(ones, others, self._accuracy, step)

        if frozenset((one, other)) not in self._sequences:
            return compare(first, second)
        return self._judge_sequence(one, other, compare)

    def _judge_sequence(self, one: str, other: str, compare: Compare) -> Difference:
        """Returns the difference at the look at which a group-sequential test stopped.

        Its p-value is scaled so that it is below `ALPHA` if it is below the level of that look.
        """
        first, second = (self._find_tested(name) for name in (one, other))
        verdict = judge_seeds(compare, first, second)
        if verdict.difference is None:  # before the first look nothing is tested
            return compare(first, second)._replace(p=math.nan)
        self._levels[frozenset((one, other))] = verdict.level
        return verdict.difference._replace(p=min(1.0, verdict.difference.p * ALPHA / verdict.level))

    def _set_level(self, pair: tuple[str, str], verdict: Verdict) -> Verdict:
        """Returns the verdict with the level of its look, where seeds were added until a pair was decided."""
        level = self._levels.get(frozenset(pair))
        return verdict if level is None else verdict._replace(level=verdict.level * level / ALPHA)

    def _find_search(self, contender: str) -> object:
        """Returns the marks of the searches that found a contender's settings and epochs, and the weights that it was given."""
        records = self._cells.get(contender)
        if not records:
            return None, None, None
        cell = next(iter(records.values())).cell
        return cell.options.get(TUNED), cell.options.get(AUTO_EPOCHS), cell.weights if cell.is_given else None

    def _find_tested(self, contender: str) -> dict[int, str]:
        cells = {seed: record.cell.id for seed, record in self._cells.get(contender, {}).items()}
        return {seed: cell for seed, cell in cells.items() if cell in self._accuracy}


def count_comparisons(records: Sequence[Record], budget: Sequence[str]) -> int:
    """Counts the comparisons that a report on some records could make.

    Each pair of contenders of a budget counts once for each number of a measure that is compared. Each contender counts once for
    each measure, for claims about it alone; for accuracy only on a data set of `ACCURACY_CLAIMED`.
    """
    groups: dict[tuple[object, ...], tuple[set[str], set[str]]] = {}
    for record in records:
        key = (record.cell.dataset, *(getattr(record.cell, name) for name in budget))
        contenders, measures = groups.setdefault(key, (set(), set()))
        contenders.add(record.cell.contender)
        measures.update(row.measure for row in record.rows)
    specs = {TRAINING: TRAINING_SPEC, **specs_of(records)}
    count = 0
    for (dataset, *_), (contenders, measures) in groups.items():
        numbers = [specs[measure].count_compared for measure in measures]
        alone = sum(number > 0 for number in numbers)
        if dataset not in ACCURACY_CLAIMED:
            alone -= ACCURACY in measures
        count += math.comb(len(contenders), 2) * sum(numbers) + len(contenders) * alone
    return count


def _find_origin(record: Record) -> Mapping[str, object]:
    """Returns the facts of a training in `ORIGIN`; a GPU counts only if the network was trained on it."""
    facts = {name: record.provenance.get(name) for name in ORIGIN}
    return facts if str(record.cell.device).startswith("cuda") else {**facts, "gpu": None}
