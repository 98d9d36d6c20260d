"""The section on claims of the literature about capsule networks, each judged by a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum, auto

import pandas as pd

from capsbench.measures.soundness import OF_ALL_ATTACKS, find_failed_checks
from capsbench.presenting.marks import COLLAPSED, UNLIKE, has_mark
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section
from capsbench.presenting.shortlist import MOST
from capsbench.presenting.verdicts import Verdicts
from capsbench.reporting.sections import claims
from capsbench.reporting.sections.budget import MARGIN, Estimate, Group, judge_above, pair_groups
from capsbench.reporting.sections.claims import Judge, Statement, with_their_cnn
from capsbench.stats.differences import FEWEST_SEEDS
from capsbench.stats.verdicts import Outcome


@dataclass(frozen=True)
class Finding:
    """The verdict of a run on a claim, on one kind of data.

    Attributes:
        number: of the claim.
        claim: in a sentence.
        source: who made it.
        on: the data set and the budget.
        verdict: ``supported``, ``refuted``, ``undecided`` or ``not tested``, which takes more seeds.
        numbers: those that it rests on.
        n: seeds.
        family: of the comparison that it rests on, whose level its interval has (`capsbench.presenting.verdicts`).
        unlike: in what else the trainings of a pair differ, such as ``commit``.
    """

    number: int
    claim: str
    source: str
    on: str
    verdict: str
    numbers: str
    n: int
    family: str
    unlike: str


class Basis(Enum):
    """The kind of a claim's numbers, which decides if a failed sanity check makes them doubtful.

    ``ROBUST`` are robust accuracies, which any failed check says may be too high. ``ATTACKED`` are others of attacks, of which
    only some checks speak (`OF_ALL_ATTACKS`): that an attack through the output is weak is what claim 10 is about.
    """

    OTHER = auto()
    ATTACKED = auto()
    ROBUST = auto()


@dataclass(frozen=True)
class Hypothesis:
    number: int
    claim: str
    source: str
    judge: Judge
    basis: Basis = Basis.OTHER
    """Decides if a failed sanity check of the attacks makes its numbers doubtful."""


OURS = "our own question"
"""The source of a claim that no paper makes."""

MORE = "3 routing iterations are better than 1"

HYPOTHESES = (
    Hypothesis(
        1, "At matched clean accuracy CapsNet beats the CNN under affine warps", "Sabour 2017",
        claims.capsnet_beats_the_cnn_at_matched_accuracy,
    ),
    Hypothesis(
        2, "Against a CNN with 9x9 kernels and average pooling CapsNet has no advantage", "Gu 2021",
        claims.average_pooling_closes_the_gap,
    ),
    Hypothesis(
        3, "Shared transformations without routing reach 93 % on affNIST", "Gu, Tresp 2020", claims.shared_transforms_reach_93
    ),
    Hypothesis(4, "Routing adds nothing under affine warps", "Gu, Tresp 2020", claims.routing_adds_nothing),
    Hypothesis(
        5, "Capsules make 30 % fewer errors on novel viewpoints at equal accuracy on familiar ones", "Hinton 2018",
        claims.novel_viewpoints_err_less,
    ),
    Hypothesis(
        6, "On smallNORB EM routing beats dynamic routing, and dynamic routing beats the CNN", "Hinton 2018",
        claims.em_beats_dynamic_beats_the_cnn,
    ),
    Hypothesis(
        7, "FGSM at 0.2 on smallNORB leaves capsules above 20 %, which is chance, and the CNN below", "Hinton 2018",
        claims.fgsm_spares_capsules, Basis.ROBUST,
    ),
    Hypothesis(
        8, "Under the worst case of readings and losses capsules have no advantage over their CNN", OURS,
        claims.worst_cases_leave_no_advantage, Basis.ROBUST,
    ),
    Hypothesis(
        9, "Against transferred attacks capsules have no advantage over their CNN", OURS,
        claims.transfer_spares_nobody, Basis.ATTACKED,
    ),
    Hypothesis(
        10, "The vote attack breaks more than PGD on the output", "Gu 2021b",
        claims.votes_are_the_better_target, Basis.ATTACKED,
    ),
    Hypothesis(
        11, "Reconstruction detects about 70 % of adversarial images at 5 % false positives", "Frosst 2018",
        claims.reconstruction_detects, Basis.ATTACKED,
    ),
    Hypothesis(12, "CapsNet has about 5 % error on MultiMNIST", "Sabour 2017", claims.multimnist_errs_by_five),
    Hypothesis(13, MORE, "Sabour 2017, for dynamic routing on MNIST", claims.iterations_help("dynamic")),
    Hypothesis(13, MORE, "Hinton 2018, for EM routing on smallNORB", claims.iterations_help("em")),
    Hypothesis(13, MORE, f"{OURS}, for other routings", claims.iterations_help()),
)  # fmt: skip
"""The claims that contenders of one budget can speak to. `FEW`, number 14, is about several budgets."""

FEW = "Capsules need fewer labelled examples: with few images they beat their CNN"


def judge_claims(material: Material) -> list[Finding]:
    """Judges each claim that the material has numbers for, by number."""
    results = []
    pairs = pair_groups(material, MOST)
    doubts = {basis: find_doubts(material, basis) for basis in Basis}
    for hypothesis in HYPOTHESES:
        for plain, marked in pairs:
            for statement in hypothesis.judge(plain if hypothesis.basis is Basis.OTHER else marked):
                known = doubts[hypothesis.basis]
                results.append(
                    _make_finding(
                        hypothesis.number,
                        hypothesis.claim,
                        hypothesis.source,
                        plain.title,
                        statement,
                        known,
                        material.verdicts,
                    )
                )
    return results + _few_examples([plain for plain, _ in pairs], doubts[Basis.OTHER], material.verdicts)


def _make_finding(
    number: int, claim: str, source: str, on: str, statement: Statement, doubts: Mapping[str, str], verdicts: Verdicts
) -> Finding:
    """Returns a statement as a finding, undecided if there are doubts about a contender whose numbers it rests on."""
    reasons = [doubts[name] for name in dict.fromkeys(statement.of) if name in doubts]
    verdict = "undecided" if reasons else statement.verdict
    pairs = zip(statement.of[::2], statement.of[1::2], strict=False)  # a contender alone is no pair
    unlike = sorted({fact for pair in pairs for fact in verdicts.unlike(*pair)})
    numbers = statement.numbers + (f" {UNLIKE.sign}" if unlike else "")
    return Finding(
        number,
        claim,
        source,
        on,
        verdict,
        "; ".join([numbers, *reasons]),
        statement.n,
        statement.family,
        ", ".join(unlike),
    )


def find_doubts(material: Material, basis: Basis) -> dict[str, str]:
    """Returns contender -> why its numbers decide no claim: it has collapsed, it lacks seeds, or a sanity check failed."""
    reasons_of: dict[str, list[str]] = {}
    summary = material.summary
    for contender in summary["contender"][has_mark(summary, COLLAPSED)]:
        reasons_of.setdefault(contender, []).append("has collapsed")
    for contender, n, seeds in zip(summary["contender"], summary["n"], summary["seeds"], strict=True):
        if n < seeds:
            reasons_of.setdefault(contender, []).append(f"failed in {seeds - n} of {seeds} seeds")
    for contender, failed in find_failed_checks(material).items():
        checks = [check for check in failed if basis is Basis.ROBUST or check in OF_ALL_ATTACKS]
        if checks and basis is not Basis.OTHER:
            reasons_of.setdefault(contender, []).append(f"failed a sanity check ({', '.join(checks)})")
    labels = dict(zip(summary["contender"], summary["label"], strict=True))
    return {contender: f"{labels[contender]} {' and '.join(reasons)}" for contender, reasons in reasons_of.items()}


def _few_examples(groups: list[Group], doubts: Mapping[str, str], verdicts: Verdicts) -> list[Finding]:
    """Judges if a capsule network beats its matched CNN with the fewest images, and adds the difference with the most."""
    advantages: dict[tuple[str, str, str], list[tuple[float, Estimate, tuple[str, str]]]] = {}
    for group in groups:
        size = group.cells["train_size"].iloc[0]
        for capsules, cnn in with_their_cnn(group):
            apart = group.accuracy_difference(capsules, cnn)
            row = group.contenders.loc[capsules]
            name = f"{row['network']} {row['routing']} x{row['iterations']}"
            if apart is not None:
                advantages.setdefault((group.dataset, group.size, name), []).append(
                    (math.inf if pd.isna(size) else float(size), apart, (capsules, cnn))
                )
    results = []
    labels = {contender: group.label(contender) for group in groups for contender in group.contenders.index}
    for (dataset, size, _), by_images in advantages.items():
        (least, few, ones), (most, many, others) = min(by_images, key=_count_images), max(by_images, key=_count_images)
        if least < most:
            fewer, more = (" against ".join(labels[name] for name in pair) for pair in (ones, others))
            numbers = (
                f"{fewer}: {few.shown(' points', '+')} with {least:g} images; {more}: {many.shown(' points', '+')} with "
                f"{'all' if math.isinf(most) else f'{most:g}'}"
            )
            statement = Statement(judge_above(few), numbers, few.n, (*ones, *others), verdicts.family(*ones))
            results.append(_make_finding(14, FEW, "often claimed", f"{dataset}, {size}", statement, doubts, verdicts))
    return results


def _count_images(advantage: tuple[float, Estimate, tuple[str, str]]) -> float:
    return advantage[0]


def build_table(material: Material) -> pd.DataFrame:
    results = judge_claims(material)
    if not results:
        raise NoDataError("the subject of any claim of the literature")
    return pd.DataFrame([asdict(finding) for finding in results])


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    stated = table["number"].map(str) + ". " + table["claim"] + " (" + table["source"] + ")"
    return pd.DataFrame(
        {
            "claim": stated.where(~stated.duplicated(), ""),
            "on": table["on"],
            "verdict": [_spell_verdict(verdict, n) for verdict, n in zip(table["verdict"], table["n"], strict=True)],
            "numbers": table["numbers"],
            "n": table["n"].map(str),
        }
    )


def _spell_verdict(verdict: str, n: int) -> str:
    return f"{verdict} ({n} seed{'' if n == 1 else 's'})" if verdict == Outcome.NOT_TESTED else verdict


SECTION = Section(
    name="hypotheses",
    title="What the literature claims",
    caption=(
        f"Supported or refuted: the interval over {FEWEST_SEEDS} seeds or more lies wholly on one side; undecided "
        "otherwise, and where a network in it has collapsed or failed in a seed, or where a sanity check of its attacks failed. "
        "A capsule network and its baseline have the verdict and the interval of the table of accuracy and cost; all other "
        "differences, and numbers alone, are of the second family of this report, with Bonferroni's 95 % intervals over all that "
        "could be compared. A mean beside its difference has its own 95 % t-interval. "
        f"That there is no advantage is supported where the interval stays below {MARGIN:g} point, and else refuted where it is "
        "above 0. Robustness is compared by the share that stays right of the images that each network has right. A claim about "
        "a number alone is decided at the paper's size and on all images only; about differences, a network of another size or "
        f"with less training says what is so there. Of more than {MOST} contenders of one budget, the most accurate and their "
        "baselines are judged."
    ),
    table=build_table,
    readable=format_table,
)
