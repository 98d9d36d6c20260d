"""Answers to questions about capsule networks, from the records of several results folders."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

from capsbench.presenting.baselines import TOLERANCE
from capsbench.reporting.findings.comparisons import Compared, Folder, compare_pairs, find_numbers, is_count, is_ratio
from capsbench.reporting.findings.questions import AskedNumber, Saying, SupportedIf
from capsbench.reporting.sections.budget import Estimate, judge_above
from capsbench.reporting.sections.hypotheses import FEW, HYPOTHESES
from capsbench.stats.differences import FEWEST_SEEDS
from capsbench.stats.verdicts import Outcome

SUPPORTED, REFUTED, UNDECIDED, NOT_TESTED = "supported", "refuted", "undecided", str(Outcome.NOT_TESTED)
MIXED, NO_RECORD = "mixed", "no record yet"

OPPOSITE = {SUPPORTED: REFUTED, REFUTED: SUPPORTED}


class Row(NamedTuple):
    """A verdict on a question by one comparison.

    Attributes:
        on: the data set and the budget.
        about: the number that is compared; empty for a claim.
        verdict: supported, refuted, undecided or not tested.
        numbers: those that it rests on.
        n: seeds.
        is_exact: true for a count, which needs no test.
        claim: the number of the claim that a saying rests on; 0 for another row.
    """

    on: str
    about: str
    verdict: str
    numbers: str
    n: int
    is_exact: bool = False
    claim: int = 0

    @property
    def is_tested(self) -> bool:
        return self.is_exact or (self.n >= FEWEST_SEEDS and self.verdict != NOT_TESTED)

    @property
    def place(self) -> str:
        """The data set and the size."""
        return ", ".join(re.sub(r"\[\d+\]", "", self.on).split(", ")[:2])


class Claim(NamedTuple):
    """A claim of the literature, and who made it."""

    number: int
    text: str
    source: str


def list_claims() -> list[Claim]:
    """Returns the claims of the literature by number."""
    claims: dict[int, tuple[str, list[str]]] = {}
    for hypothesis in HYPOTHESES:
        claims.setdefault(hypothesis.number, (hypothesis.claim, []))[1].append(hypothesis.source)
    claims[len(claims) + 1] = (FEW, ["often claimed"])
    return [Claim(number, text, "; ".join(sources)) for number, (text, sources) in claims.items()]


def answer_claim(number: int, folders: Iterable[Folder]) -> list[Row]:
    """Returns what the records say of a claim of the literature."""
    return [
        Row(folder.spell_budget(finding.on), "", finding.verdict, finding.numbers, finding.n)
        for folder in folders
        for finding in folder.findings
        if finding.number == number
    ]


def answer_saying(saying: Saying, folders: Iterable[Folder]) -> list[Row]:
    """Returns what the records say of a saying, folder by folder."""
    rows: list[Row] = []
    for folder in folders:
        for number in saying.claims:
            rows += [row._replace(claim=number) for row in answer_claim(number, [folder])]
        for number in saying.denials:
            rows += [
                row._replace(claim=number, verdict=OPPOSITE.get(row.verdict, row.verdict))
                for row in answer_claim(number, [folder])
            ]
        for asked in saying.numbers:
            rows += _answer_number(asked, folder)
    return [*dict.fromkeys(rows)]  # two folders may have the same counts


def _answer_number(asked: AskedNumber, folder: Folder) -> Iterator[Row]:
    for number in find_numbers(asked, folder.material):
        for compared in compare_pairs(folder, number):
            is_wanted = not asked.datasets or compared.group.dataset in asked.datasets
            if is_wanted and (compared.pair.is_equal_in_size or not asked.equal_size):
                yield Row(
                    compared.on if is_count(number) else folder.spell_budget(compared.on),
                    number.contest.title,
                    UNDECIDED if compared.doubt else judge_saying(compared, asked.supported_if),
                    compared.spell_numbers(),
                    0 if is_count(number) else compared.verdict.difference.seeds,
                    is_count(number),
                )


def judge_saying(compared: Compared, supported_if: SupportedIf) -> str:
    """Returns the verdict of a comparison on a saying, by the rule of claims: the interval lies wholly on one side."""
    is_higher = supported_if == "higher"
    if supported_if in ("better", "worse"):
        is_higher = bool(compared.number.metric.higher_is_better) == (supported_if == "better")
    sign = 1 if is_higher else -1
    if is_count(compared.number):
        # A count has no spread. Within the tolerance of equal sizes two counts are as good as equal.
        more, margin = sign * math.log(median(compared.find_ratios())), math.log1p(TOLERANCE)
        return SUPPORTED if more > margin else REFUTED if more < -margin else UNDECIDED
    if is_ratio(compared.number):
        return NOT_TESTED
    estimate = Estimate.of_verdict(compared.verdict)
    return judge_above(estimate._replace(mean=sign * estimate.mean))


def sum_up(rows: Sequence[Row]) -> str:
    """Returns one verdict on a question: what all tested comparisons agree on."""
    tested = {row.verdict for row in rows if row.is_tested}
    if not tested:
        return NOT_TESTED if rows else NO_RECORD
    if len(tested) == 1:
        return tested.pop()
    return MIXED if {SUPPORTED, REFUTED} <= tested else UNDECIDED


def count_verdicts(rows: Sequence[Row]) -> str:
    """Returns ``2 supported, 1 undecided, 6 not tested``."""
    counts = Counter(row.verdict if row.is_tested else NOT_TESTED for row in rows)
    return ", ".join(f"{counts[name]} {name}" for name in (SUPPORTED, REFUTED, UNDECIDED, NOT_TESTED) if counts[name])
