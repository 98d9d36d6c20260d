"""The judges of the claims of the literature that `capsbench.reporting.sections.hypotheses` lists.

Each is about a number, or about a difference between contenders of one budget; `capsbench.reporting.sections.budget` has the
rules by which it is supported, refuted or undecided.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from capsbench.attacks.threats import Threat, bounds_of
from capsbench.presenting.verdicts import SECOND
from capsbench.reporting.sections.budget import (
    MARGIN,
    Estimate,
    Group,
    OfSeeds,
    judge_above,
    judge_near,
    judge_no_advantage,
)

FEWEST_IMAGES = 10
"""The fewest images that misled a source for their effect on others to count."""

AFFINE_SETS = ("affnist", "affnist-full", "affine-mnist", "affine-fashion-mnist", "affine-kmnist")
VIEWPOINT_SETS = ("smallnorb-azimuth", "smallnorb-elevation")
NORB = ("smallnorb", "smallnorb-mono", "smallnorb-new-toys")
SABOUR_CNN, GU_CNN = "cnn-sabour2017", "avgpool-gu2021"


class Statement(NamedTuple):
    """The verdict of a judge on some numbers.

    Attributes:
        verdict: ``supported``, ``refuted``, ``undecided`` or ``not tested``.
        numbers: what it rests on.
        n: seeds.
        of: the contenders whose numbers they are, pair after pair where they are compared.
        family: of the comparison that it rests on, `capsbench.presenting.verdicts`.
    """

    verdict: str
    numbers: str
    n: int
    of: tuple[str, ...]
    family: str = SECOND


Statements = Iterator[Statement]
Judge = Callable[[Group], Statements]
"""Judges a claim by the numbers of a group."""


def _state_difference(
    of: Sequence[str],
    names: Sequence[str],
    values: Sequence[OfSeeds],
    apart: Estimate | None,
    judge: Callable[[Estimate], str],
    about: str = "",
    family: str = SECOND,
) -> Statements:
    """Yields the verdict of a judge on one number minus another; nothing without a seed in common."""
    if apart is not None:
        means = ", ".join(f"{name} {Estimate.of(value).shown()}" for name, value in zip(names, values, strict=True))
        numbers = f"{about}{means}: {apart.shown(' points', '+')}"
        yield Statement(judge(apart), numbers, apart.n, (*of,), family)


def _compare_accuracies(
    group: Group, ones: Iterable[str], others: Iterable[str], judge: Callable[[Estimate], str]
) -> Statements:
    """Yields the comparisons of the accuracies of some contenders with those of others."""
    for pair in itertools.product(ones, others):
        names = [group.label(name) + _describe_clean(group, name) for name in pair]
        values = [group.accuracy(name) for name in pair]
        apart = group.accuracy_difference(*pair)
        yield from _state_difference(pair, names, values, apart, judge, family=group.verdicts.family(*pair))


def _describe_clean(group: Group, contender: str) -> str:
    """Returns the accuracy on clean images, if the test images are others; else an empty string."""
    clean = group.values(contender, "accuracy", "accuracy", "clean")
    return f" (clean {Estimate.of(clean).shown()})" if len(clean) else ""


def capsnet_beats_the_cnn_at_matched_accuracy(group: Group) -> Statements:
    if group.dataset in AFFINE_SETS and group.stop_at:
        cnns = [
            name
            for name in group.find_contenders(network=SABOUR_CNN) + group.find_contenders(network="matched")
            if group.has_reached(name)
        ]
        capsnets = [
            name for name in group.find_contenders(network="capsnet", routing="dynamic") if group.has_reached(name)
        ]
        yield from _compare_accuracies(group, capsnets, cnns, judge_above)


def average_pooling_closes_the_gap(group: Group) -> Statements:
    if group.dataset in AFFINE_SETS:
        yield from _compare_accuracies(
            group,
            group.find_contenders(network="capsnet", routing="dynamic"),
            group.find_contenders(network=GU_CNN),
            judge_no_advantage,
        )


def shared_transforms_reach_93(group: Group) -> Statements:
    if group.dataset in ("affnist", "affnist-full"):
        for contender in group.find_contenders(routing="uniform", network__shared_transforms=True):
            estimate = group.estimate(group.accuracy(contender))
            verdict = group.at_full_size(judge_near(estimate, 93.21, MARGIN))
            if estimate.n:
                yield Statement(verdict, f"{group.label(contender)} {estimate.shown()}", estimate.n, (contender,))


def routing_adds_nothing(group: Group) -> Statements:
    if group.dataset in AFFINE_SETS:
        for one in group.find_contenders(network="capsnet", routing="dynamic"):
            same = [
                other
                for other in group.find_contenders(network="capsnet", routing="uniform")
                if _same_network(group, one, other)
            ]
            yield from _compare_accuracies(group, [one], same, judge_no_advantage)


def _same_network(group: Group, one: str, other: str) -> bool:
    options = group.described.filter(like="network.").T
    return bool(options[one].equals(options[other]))


def novel_viewpoints_err_less(group: Group) -> Statements:
    if group.dataset in VIEWPOINT_SETS and group.stop_at:
        for capsules in filter(group.has_reached, group.find_contenders(routing="em")):
            for cnn in filter(group.has_reached, group.list_cnns()):
                one, other = (group.accuracy(name).complement() for name in (capsules, cnn))
                less = one.share_of(other).complement()
                if len(less):
                    estimate = group.estimate(less)
                    errors = [Estimate.of(values) for values in (one, other)]
                    numbers = (
                        f"error on novel viewpoints: {group.label(capsules)} {errors[0].shown()}, {group.label(cnn)} "
                        f"{errors[1].shown()}; {estimate.shown()} less"
                    )
                    yield Statement(judge_near(estimate, 30, 10), numbers, estimate.n, (capsules, cnn))


def em_beats_dynamic_beats_the_cnn(group: Group) -> Statements:
    if group.dataset in NORB:
        em, dynamic = group.find_contenders(routing="em"), group.find_contenders(routing="dynamic")
        yield from _compare_accuracies(group, em, dynamic, judge_above)
        yield from _compare_accuracies(group, dynamic, group.list_cnns(), judge_above)


def fgsm_spares_capsules(group: Group) -> Statements:
    if group.dataset in NORB:
        for contender in group.contenders.index:
            capsules = contender in group.list_capsules()
            reading = "lengths" if capsules else "logits"
            condition = f"Linf, fgsm, {reading}, cross-entropy"
            estimate = group.estimate(group.values(contender, "adversarial", "robust accuracy", condition, 0.2))
            if estimate.n:
                verdict = (
                    judge_above(estimate, 20.0)
                    if capsules
                    else judge_above(Estimate(-estimate.mean, estimate.half, estimate.n), -20.0)
                )
                numbers = f"{group.label(contender)} {estimate.shown()} under FGSM at 0.2 of the range of the standardised pixels"
                yield Statement(group.at_full_size(verdict), numbers, estimate.n, (contender,))


def worst_cases_leave_no_advantage(group: Group) -> Statements:
    """Compares the share of correctly classified images that stay correct, since a worse network has fewer to lose."""
    level = bounds_of(group.dataset, Threat.LINF).headline
    for pair in with_their_cnn(group):
        clean, left = (
            [group.values(name, "adversarial", "robust accuracy", "Linf, worst case", at) for name in pair]
            for at in (0.0, level)
        )
        names = [
            f"{group.label(name)} (robust {Estimate.of(robust).shown()} of clean {Estimate.of(right).shown()})"
            for name, robust, right in zip(pair, left, clean, strict=True)
            if len(robust) and len(right)
        ]
        shares = [robust.share_of(right) for robust, right in zip(left, clean, strict=True)]
        about = f"of the images that each has right, still right in the worst case at {level:g}: "
        yield from _state_difference(pair, names, shares, group.subtract(*shares), judge_no_advantage, about)


def transfer_spares_nobody(group: Group) -> Statements:
    about = "of the images that each has right, misled by what misled third networks of the run: "
    for capsules, cnn in with_their_cnn(group):
        rates = _average_transfers(group, capsules, cnn)
        if len(rates):
            pair = (cnn, capsules)
            names, values = [group.label(name) for name in pair], [OfSeeds(rates[name]) for name in pair]
            yield from _state_difference(pair, names, values, group.subtract(*values), judge_no_advantage, about)


def _average_transfers(group: Group, one: str, other: str) -> pd.DataFrame:
    """Returns the mean success rate of each seed on two contenders, in per cent, for the same images of third networks."""
    cells = group.cells.set_index("cell")
    rows = group.numbers.transfer
    rows = rows[rows["contender"].isin([one, other])]
    if rows.empty:
        return pd.DataFrame()
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


def votes_are_the_better_target(group: Group) -> Statements:
    level = bounds_of(group.dataset, Threat.LINF).headline
    names = ("output attack", "vote attack")
    for contender in group.list_capsules():
        left = [group.values(contender, "routing-robustness", "robust accuracy", name, level) for name in names]
        about = f"{group.label(contender)} at {level:g}, left by each: "
        yield from _state_difference([contender], names, left, group.subtract(*left), judge_above, about)


def reconstruction_detects(group: Group) -> Statements:
    for contender in group.list_capsules():
        level = bounds_of(group.dataset, Threat.LINF).published
        detected, evaded = (_find_detected(group, contender, attack, level) for attack in ("pgd", "reconstructive"))
        if len(detected):
            estimate = group.estimate(detected)
            less = f", {Estimate.of(evaded).shown()} under the reconstructive attack" if len(evaded) else ""
            verdict = group.at_full_size(judge_near(estimate, 70, 15))
            yield Statement(
                verdict, f"{group.label(contender)}: {estimate.shown()} detected{less}", estimate.n, (contender,)
            )
        elif len(group.values(contender, "detection", "success rate", "pgd", level)):
            few = f"{group.label(contender)}: fewer than {FEWEST_IMAGES} adversarial images on record"
            yield Statement("undecided", few, 0, (contender,))


def _find_detected(group: Group, contender: str, attack: str, level: float) -> OfSeeds:
    """Returns the share detected of each seed with enough adversarial images, in per cent."""
    detected, images = (
        group.values(contender, "detection", metric, attack, level) for metric in ("detected", "adversarial images")
    )
    enough = images.by_seed.reindex(detected.by_seed.index, fill_value=0) >= 100 * FEWEST_IMAGES
    return OfSeeds(detected.by_seed[enough], detected.step)


def multimnist_errs_by_five(group: Group) -> Statements:
    if group.dataset == "multimnist":
        for contender in group.find_contenders(network="capsnet", routing="dynamic", iterations=3):
            estimate = group.estimate(group.accuracy(contender).complement())
            verdict = group.at_full_size(judge_near(estimate, 5.2, MARGIN))
            if estimate.n:
                yield Statement(
                    verdict, f"{group.label(contender)}: error {estimate.shown()}", estimate.n, (contender,)
                )


def iterations_help(*routings: str) -> Judge:
    """Returns the judge for some routings; with none named, for all that no paper makes a claim about."""

    def judge(group: Group) -> Statements:
        whose = group.contenders["routing"]
        chosen = group.contenders[whose.isin(routings) if routings else ~whose.isin(["dynamic", "em"])]
        for _, alike in chosen.groupby("series", sort=False):
            three, one = (list(alike["contender"][alike["iterations"].eq(count).fillna(False)]) for count in (3, 1))
            yield from _compare_accuracies(group, three, one, judge_above)

    return judge


def with_their_cnn(group: Group) -> list[tuple[str, str]]:
    baselines = group.contenders["baseline"].dropna()
    return [(str(one), str(other)) for one, other in baselines.items() if other in group.contenders.index]
