"""What the literature claims of capsule networks, and what a run has to say to it.

Each claim is about a number, or about a difference between contenders of one budget; `capsbench.reporting.budgets` has the rules
by which it is supported, refuted or undecided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

import pandas as pd

from capsbench.attacks.threats import Threat, bounds_of
from capsbench.reporting.adversarial import marked
from capsbench.reporting.budgets import FEWEST, MARGIN, Estimate, Group, above, difference, groups_of, near, nothing
from capsbench.reporting.section import Material, NoDataError, Section

FEWEST_IMAGES = 10
"""Images that a source has to have been misled by, for what they do to others to count."""

AFFINE_SETS = ("affnist", "affnist-full", "affine-mnist", "affine-fashion-mnist", "affine-kmnist")
VIEWPOINT_SETS = ("smallnorb-azimuth", "smallnorb-elevation")
NORB = ("smallnorb", "smallnorb-mono", "smallnorb-new-toys")
SABOUR_CNN, GU_CNN = "cnn-sabour2017", "avgpool-gu2021"


@dataclass(frozen=True)
class Finding:
    """What a run says to a claim on one kind of data.

    Attributes:
        number: of the claim.
        claim: in a sentence.
        source: who made it.
        on: the data set and the budget.
        verdict: ``supported``, ``refuted`` or ``undecided``.
        numbers: what it rests on.
        n: seeds.
    """

    number: int
    claim: str
    source: str
    on: str
    verdict: str
    numbers: str
    n: int


Judge = Callable[[Group], Iterator[tuple[str, str, int]]]
"""The verdicts that a group allows: verdict, numbers, seeds."""


def _against(
    group: Group, ones: Iterable[str], others: Iterable[str], judge: Callable[[Estimate], str]
) -> Iterator[tuple[str, str, int]]:
    """The accuracies of each of some contenders beside each of others."""
    for one in ones:
        for other in others:
            apart = difference(group.accuracy(one), group.accuracy(other))
            if apart is not None:
                means = [Estimate.of(group.accuracy(each)) for each in (one, other)]
                numbers = (
                    f"{group.label(one)} {means[0].shown()}, {group.label(other)} {means[1].shown()}: "
                    f"{apart.shown(' points', '+')}"
                )
                yield judge(apart), numbers, apart.n


def _capsnet_beats_the_cnn_at_matched_accuracy(group: Group) -> Iterator[tuple[str, str, int]]:
    if group.dataset in AFFINE_SETS and group.stop_at:
        cnns = [
            name for name in group.which(network=SABOUR_CNN) + group.which(network="matched") if group.reached(name)
        ]
        capsnets = [name for name in group.which(network="capsnet", routing="dynamic") if group.reached(name)]
        yield from _against(group, capsnets, cnns, above)


def _average_pooling_closes_the_gap(group: Group) -> Iterator[tuple[str, str, int]]:
    if group.dataset in AFFINE_SETS:
        yield from _against(
            group, group.which(network="capsnet", routing="dynamic"), group.which(network=GU_CNN), nothing
        )


def _shared_transforms_reach_93(group: Group) -> Iterator[tuple[str, str, int]]:
    if group.dataset in ("affnist", "affnist-full"):
        for contender in group.which(routing="uniform", network__shared_transforms=True):
            found = Estimate.of(group.accuracy(contender))
            verdict = group.at_full_size(near(found, 93.21, MARGIN))
            if found.n:
                yield verdict, f"{group.label(contender)} {found.shown()}", found.n


def _routing_adds_nothing(group: Group) -> Iterator[tuple[str, str, int]]:
    if group.dataset in AFFINE_SETS:
        for one in group.which(network="capsnet", routing="dynamic"):
            same = [
                other for other in group.which(network="capsnet", routing="uniform") if _same_network(group, one, other)
            ]
            yield from _against(group, [one], same, nothing)


def _same_network(group: Group, one: str, other: str) -> bool:
    options = group.rows.drop_duplicates("contender").set_index("contender").filter(like="network.").T
    return bool(options[one].equals(options[other]))


def _novel_viewpoints_err_less(group: Group) -> Iterator[tuple[str, str, int]]:
    if group.dataset in VIEWPOINT_SETS and group.stop_at:
        for capsules in filter(group.reached, group.which(routing="em")):
            for cnn in filter(group.reached, group.cnns()):
                one, other = (100 - group.accuracy(each) for each in (capsules, cnn))
                less = 100 * (1 - one / other[other > 0]).dropna()
                if len(less):
                    found = Estimate.of(less)
                    errors = [Estimate.of(each) for each in (one, other)]
                    numbers = (
                        f"error on novel viewpoints: {group.label(capsules)} {errors[0].shown()}, {group.label(cnn)} "
                        f"{errors[1].shown()}; {found.shown()} less"
                    )
                    yield near(found, 30, 10), numbers, found.n


def _em_beats_dynamic_beats_the_cnn(group: Group) -> Iterator[tuple[str, str, int]]:
    if group.dataset in NORB:
        em, dynamic = group.which(routing="em"), group.which(routing="dynamic")
        yield from _against(group, em, dynamic, above)
        yield from _against(group, dynamic, group.cnns(), above)


def _fgsm_spares_capsules(group: Group) -> Iterator[tuple[str, str, int]]:
    if group.dataset in NORB:
        for contender in group.contenders.index:
            capsules = contender in group.capsules()
            reading = "lengths" if capsules else "logits"
            condition = f"Linf, fgsm, {reading}, cross-entropy"
            found = Estimate.of(group.values(contender, "adversarial", "robust accuracy", condition, 0.2))
            if found.n:
                verdict = above(found, 20.0) if capsules else above(Estimate(-found.mean, found.half, found.n), -20.0)
                numbers = f"{group.label(contender)} {found.shown()} under FGSM at 0.2 of the range of the standardised pixels"
                yield group.at_full_size(verdict), numbers, found.n


def _worst_cases_leave_no_advantage(group: Group) -> Iterator[tuple[str, str, int]]:
    for capsules, cnn in _with_their_cnn(group):
        level = bounds_of(group.dataset, Threat.LINF).headline
        one, other = (
            group.values(each, "adversarial", "robust accuracy", "Linf, worst case", level) for each in (capsules, cnn)
        )
        apart = difference(one, other)
        if apart is not None:
            numbers = (
                f"worst case at {level:g}: {group.label(capsules)} {Estimate.of(one).shown()}, {group.label(cnn)} "
                f"{Estimate.of(other).shown()}: {apart.shown(' points', '+')}"
            )
            yield nothing(apart), numbers, apart.n


def _transfer_spares_nobody(group: Group) -> Iterator[tuple[str, str, int]]:
    for capsules, cnn in _with_their_cnn(group):
        shown = _transferred(group, capsules, cnn)
        if len(shown):
            apart = Estimate.of(shown[cnn] - shown[capsules])
            means = {name: Estimate.of(shown[name]).shown() for name in (capsules, cnn)}
            numbers = (
                f"misled by images that third networks of the run were misled by: {group.label(capsules)} {means[capsules]}, "
                f"{group.label(cnn)} {means[cnn]}: {apart.shown(' points', '+')}"
            )
            yield nothing(apart), numbers, apart.n


def _transferred(group: Group, one: str, other: str) -> pd.DataFrame:
    """The mean success rate of each seed on two contenders, in per cent, of the same images of third networks of that seed."""
    cells = group.rows.drop_duplicates("cell").set_index("cell")
    rows = group.rows[(group.rows["measure"] == "transfer") & group.rows["contender"].isin([one, other])]
    rows = rows[~rows["condition"].map(cells["contender"]).isin([one, other])]
    rows = rows[rows["condition"].map(cells["seed"]) == rows["seed"]]
    images, rates = (
        rows[rows["metric"] == metric].pivot_table(index=["seed", "condition"], columns="contender", values="value")
        for metric in ("images", "success rate")
    )
    if not {one, other} <= set(rates.columns):
        return pd.DataFrame()
    enough = images.min(axis=1) >= FEWEST_IMAGES
    return 100 * rates[enough.reindex(rates.index, fill_value=False)].dropna().groupby("seed").mean()


def _votes_are_the_better_target(group: Group) -> Iterator[tuple[str, str, int]]:
    level = bounds_of(group.dataset, Threat.LINF).headline
    for contender in group.capsules():
        by_votes = group.values(contender, "routing-robustness", "robust accuracy", "vote attack", level)
        by_output = group.values(contender, "routing-robustness", "robust accuracy", "output attack", level)
        apart = difference(by_output, by_votes)
        if apart is not None:
            numbers = (
                f"{group.label(contender)} at {level:g}: {Estimate.of(by_votes).shown()} left by the vote attack, "
                f"{Estimate.of(by_output).shown()} by the same on the output"
            )
            yield above(apart), numbers, apart.n


def _reconstruction_detects(group: Group) -> Iterator[tuple[str, str, int]]:
    for contender in group.capsules():
        level = bounds_of(group.dataset, Threat.LINF).published
        found, evaded = (
            group.values(contender, "detection", "detected", each, level) for each in ("pgd", "reconstructive")
        )
        if len(found):
            estimate = Estimate.of(found)
            less = f", {Estimate.of(evaded).shown()} under the reconstructive attack" if len(evaded) else ""
            verdict = group.at_full_size(near(estimate, 70, 15))
            yield verdict, f"{group.label(contender)}: {estimate.shown()} detected{less}", estimate.n


def _multimnist_errs_by_five(group: Group) -> Iterator[tuple[str, str, int]]:
    if group.dataset == "multimnist":
        for contender in group.which(network="capsnet", routing="dynamic", iterations=3):
            found = Estimate.of(100 - group.accuracy(contender))
            verdict = group.at_full_size(near(found, 5.2, MARGIN))
            if found.n:
                yield verdict, f"{group.label(contender)}: error {found.shown()}", found.n


def _iterations_help(group: Group) -> Iterator[tuple[str, str, int]]:
    for _, alike in group.contenders.groupby("series", sort=False):
        iterations = alike["iterations"].eq(3), alike["iterations"].eq(1)
        three, one = (list(alike["contender"][chosen.fillna(False)]) for chosen in iterations)
        yield from _against(group, three, one, above)


def _with_their_cnn(group: Group) -> list[tuple[str, str]]:
    baselines = group.contenders["baseline"].dropna()
    return [(str(one), str(other)) for one, other in baselines.items() if other in group.contenders.index]


@dataclass(frozen=True)
class Hypothesis:
    number: int
    claim: str
    source: str
    judge: Judge
    attacked: bool = False
    """Whether it is about numbers of the measure `adversarial`, which are marked where a sanity check failed."""


HYPOTHESES = (
    Hypothesis(
        1, "at matched clean accuracy CapsNet beats the CNN under affine warps", "Sabour 2017",
        _capsnet_beats_the_cnn_at_matched_accuracy,
    ),
    Hypothesis(
        2, "against a CNN with 9x9 kernels and average pooling CapsNet has no advantage", "Gu 2021",
        _average_pooling_closes_the_gap,
    ),
    Hypothesis(3, "shared transformations without routing reach 93 % on affNIST", "Gu, Tresp 2020", _shared_transforms_reach_93),
    Hypothesis(4, "routing adds nothing under affine warps", "Gu, Tresp 2020", _routing_adds_nothing),
    Hypothesis(
        5, "capsules err 30 % less on novel viewpoints at matched familiar accuracy", "Hinton 2018", _novel_viewpoints_err_less
    ),
    Hypothesis(
        6, "on smallNORB EM routing beats dynamic routing, and that the CNN", "Hinton 2018", _em_beats_dynamic_beats_the_cnn
    ),
    Hypothesis(
        7, "FGSM at 0.2 on smallNORB leaves capsules above 20 %, which is chance, and the CNN below", "Hinton 2018",
        _fgsm_spares_capsules, attacked=True,
    ),
    Hypothesis(
        8, "under the worst case of readings and losses capsules have no advantage over their CNN", "to be tested",
        _worst_cases_leave_no_advantage, attacked=True,
    ),
    Hypothesis(
        9, "against transferred attacks capsules have no advantage over their CNN", "to be tested", _transfer_spares_nobody
    ),
    Hypothesis(10, "the vote attack breaks more than PGD on the output", "Gu 2021b", _votes_are_the_better_target),
    Hypothesis(
        11, "reconstruction detects about 70 % of adversarial images at 5 % false positives", "Frosst 2018",
        _reconstruction_detects,
    ),
    Hypothesis(12, "CapsNet errs by about 5 % on MultiMNIST", "Sabour 2017", _multimnist_errs_by_five),
    Hypothesis(13, "3 routing iterations are better than 1", "Sabour 2017", _iterations_help),
)  # fmt: skip
"""The claims that contenders of one budget can speak to. `FEW`, number 14, is about several budgets."""

FEW = "capsules need fewer labelled examples: with few images they beat their CNN"


def findings(material: Material) -> list[Finding]:
    """What the material says to each claim that it can speak to, by number."""
    found = []
    groups, attacked = groups_of(material), groups_of(marked(material))
    for hypothesis in HYPOTHESES:
        for group in attacked if hypothesis.attacked else groups:
            for verdict, numbers, n in hypothesis.judge(group):
                found.append(
                    Finding(hypothesis.number, hypothesis.claim, hypothesis.source, group.title, verdict, numbers, n)
                )
    return found + _few_examples(groups)


def _few_examples(groups: list[Group]) -> list[Finding]:
    """Whether a capsule network beats its matched CNN with the fewest images; what it is with the most stands beside."""
    advantages: dict[tuple[str, str, str], list[tuple[float, pd.Series]]] = {}
    for group in groups:
        size = group.rows["train_size"].iloc[0]
        for capsules, cnn in _with_their_cnn(group):
            paired = (group.accuracy(capsules) - group.accuracy(cnn)).dropna()
            row = group.contenders.loc[capsules]
            name = f"{row['network']} {row['routing']} x{row['iterations']}"
            if len(paired):
                advantages.setdefault((group.dataset, group.size, name), []).append(
                    (math.inf if pd.isna(size) else float(size), paired)
                )
    made = []
    for (dataset, size, name), by_images in advantages.items():
        (least, few), (most, many) = min(by_images, key=_images), max(by_images, key=_images)
        if least < most:
            estimate = Estimate.of(few)
            numbers = (
                f"{name} against its CNN: {estimate.shown(' points', '+')} with {least:g} images, "
                f"{Estimate.of(many).shown(' points', '+')} with {'all' if math.isinf(most) else f'{most:g}'}"
            )
            made.append(Finding(14, FEW, "often claimed", f"{dataset}, {size}", above(estimate), numbers, estimate.n))
    return made


def _images(advantage: tuple[float, pd.Series]) -> float:
    return advantage[0]


def _table(material: Material) -> pd.DataFrame:
    found = findings(material)
    if not found:
        raise NoDataError("no claim of the literature is about what was measured")
    return pd.DataFrame([asdict(each) for each in found])


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    claims = table["number"].map(str) + ". " + table["claim"] + " (" + table["source"] + ")"
    return pd.DataFrame(
        {
            "claim": claims.where(~claims.duplicated(), ""),
            "on": table["on"],
            "verdict": table["verdict"],
            "numbers": table["numbers"],
            "n": table["n"].map(str),
        }
    )


SECTION = Section(
    name="hypotheses",
    title="What the literature claims",
    caption=(
        f"Supported or refuted: the 95 % t-interval over {FEWEST} seeds or more lies wholly on one side; undecided otherwise. "
        f"That there is no advantage is supported where the interval stays below {MARGIN:g} point, and else refuted where it is "
        "above 0. A claim about a number alone is decided at the paper's size and on all images only; about differences, a "
        "network of another size or with less training says what is so there."
    ),
    table=_table,
    readable=_readable,
)
