"""What a run has to say to each claim of the literature: the judges that `capsbench.reporting.sections.hypotheses` lists.

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
from capsbench.reporting.sections.budget import MARGIN, Estimate, Group, OfSeeds, above, near, nothing

FEWEST_IMAGES = 10
"""Images that a source has to have been misled by, for what they do to others to count."""

AFFINE_SETS = ("affnist", "affnist-full", "affine-mnist", "affine-fashion-mnist", "affine-kmnist")
VIEWPOINT_SETS = ("smallnorb-azimuth", "smallnorb-elevation")
NORB = ("smallnorb", "smallnorb-mono", "smallnorb-new-toys")
SABOUR_CNN, GU_CNN = "cnn-sabour2017", "avgpool-gu2021"


class Statement(NamedTuple):
    """What a judge says.

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
"""What a group has to say to a claim."""


def _compared(
    of: Sequence[str],
    names: Sequence[str],
    values: Sequence[OfSeeds],
    apart: Estimate | None,
    judge: Callable[[Estimate], str],
    about: str = "",
    family: str = SECOND,
) -> Statements:
    """What a judge says of one number less another; nothing where they have no seed in common."""
    if apart is not None:
        shown = ", ".join(f"{name} {Estimate.of(each).shown()}" for name, each in zip(names, values, strict=True))
        numbers = f"{about}{shown}: {apart.shown(' points', '+')}"
        yield Statement(judge(apart), numbers, apart.n, (*of,), family)


def _against(group: Group, ones: Iterable[str], others: Iterable[str], judge: Callable[[Estimate], str]) -> Statements:
    """The accuracies of each of some contenders beside each of others, with those on clean images where there are some."""
    for pair in itertools.product(ones, others):
        names = [group.label(name) + _clean(group, name) for name in pair]
        values = [group.accuracy(name) for name in pair]
        apart = group.accuracy_difference(*pair)
        yield from _compared(pair, names, values, apart, judge, family=group.verdicts.family(*pair))


def _clean(group: Group, contender: str) -> str:
    """What is said of a contender whose test images are not clean ones."""
    clean = group.values(contender, "accuracy", "accuracy", "clean")
    return f" (clean {Estimate.of(clean).shown()})" if len(clean) else ""


def capsnet_beats_the_cnn_at_matched_accuracy(group: Group) -> Statements:
    if group.dataset in AFFINE_SETS and group.stop_at:
        cnns = [
            name for name in group.which(network=SABOUR_CNN) + group.which(network="matched") if group.reached(name)
        ]
        capsnets = [name for name in group.which(network="capsnet", routing="dynamic") if group.reached(name)]
        yield from _against(group, capsnets, cnns, above)


def average_pooling_closes_the_gap(group: Group) -> Statements:
    if group.dataset in AFFINE_SETS:
        yield from _against(
            group, group.which(network="capsnet", routing="dynamic"), group.which(network=GU_CNN), nothing
        )


def shared_transforms_reach_93(group: Group) -> Statements:
    if group.dataset in ("affnist", "affnist-full"):
        for contender in group.which(routing="uniform", network__shared_transforms=True):
            found = group.judged(group.accuracy(contender))
            verdict = group.at_full_size(near(found, 93.21, MARGIN))
            if found.n:
                yield Statement(verdict, f"{group.label(contender)} {found.shown()}", found.n, (contender,))


def routing_adds_nothing(group: Group) -> Statements:
    if group.dataset in AFFINE_SETS:
        for one in group.which(network="capsnet", routing="dynamic"):
            same = [
                other for other in group.which(network="capsnet", routing="uniform") if _same_network(group, one, other)
            ]
            yield from _against(group, [one], same, nothing)


def _same_network(group: Group, one: str, other: str) -> bool:
    options = group.described.filter(like="network.").T
    return bool(options[one].equals(options[other]))


def novel_viewpoints_err_less(group: Group) -> Statements:
    if group.dataset in VIEWPOINT_SETS and group.stop_at:
        for capsules in filter(group.reached, group.which(routing="em")):
            for cnn in filter(group.reached, group.cnns()):
                one, other = (group.accuracy(each).complement() for each in (capsules, cnn))
                less = one.share_of(other).complement()
                if len(less):
                    found = group.judged(less)
                    errors = [Estimate.of(each) for each in (one, other)]
                    numbers = (
                        f"error on novel viewpoints: {group.label(capsules)} {errors[0].shown()}, {group.label(cnn)} "
                        f"{errors[1].shown()}; {found.shown()} less"
                    )
                    yield Statement(near(found, 30, 10), numbers, found.n, (capsules, cnn))


def em_beats_dynamic_beats_the_cnn(group: Group) -> Statements:
    if group.dataset in NORB:
        em, dynamic = group.which(routing="em"), group.which(routing="dynamic")
        yield from _against(group, em, dynamic, above)
        yield from _against(group, dynamic, group.cnns(), above)


def fgsm_spares_capsules(group: Group) -> Statements:
    if group.dataset in NORB:
        for contender in group.contenders.index:
            capsules = contender in group.capsules()
            reading = "lengths" if capsules else "logits"
            condition = f"Linf, fgsm, {reading}, cross-entropy"
            found = group.judged(group.values(contender, "adversarial", "robust accuracy", condition, 0.2))
            if found.n:
                verdict = above(found, 20.0) if capsules else above(Estimate(-found.mean, found.half, found.n), -20.0)
                numbers = f"{group.label(contender)} {found.shown()} under FGSM at 0.2 of the range of the standardised pixels"
                yield Statement(group.at_full_size(verdict), numbers, found.n, (contender,))


def worst_cases_leave_no_advantage(group: Group) -> Statements:
    """By the share of the images classified right that stay right: a network that has fewer right has fewer to lose."""
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
        kept = [robust.share_of(right) for robust, right in zip(left, clean, strict=True)]
        about = f"of the images that each has right, still right in the worst case at {level:g}: "
        yield from _compared(pair, names, kept, group.difference(*kept), nothing, about)


def transfer_spares_nobody(group: Group) -> Statements:
    about = "of the images that each has right, misled by what misled third networks of the run: "
    for capsules, cnn in with_their_cnn(group):
        shown = _transferred(group, capsules, cnn)
        if len(shown):
            pair = (cnn, capsules)
            names, values = [group.label(name) for name in pair], [OfSeeds(shown[name]) for name in pair]
            yield from _compared(pair, names, values, group.difference(*values), nothing, about)


def _transferred(group: Group, one: str, other: str) -> pd.DataFrame:
    """The mean success rate of each seed on two contenders, in per cent, of the same images of third networks of that seed."""
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
    for contender in group.capsules():
        left = [group.values(contender, "routing-robustness", "robust accuracy", name, level) for name in names]
        about = f"{group.label(contender)} at {level:g}, left by each: "
        yield from _compared([contender], names, left, group.difference(*left), above, about)


def reconstruction_detects(group: Group) -> Statements:
    for contender in group.capsules():
        level = bounds_of(group.dataset, Threat.LINF).published
        found, evaded = (_detected(group, contender, attack, level) for attack in ("pgd", "reconstructive"))
        if len(found):
            estimate = group.judged(found)
            less = f", {Estimate.of(evaded).shown()} under the reconstructive attack" if len(evaded) else ""
            verdict = group.at_full_size(near(estimate, 70, 15))
            yield Statement(
                verdict, f"{group.label(contender)}: {estimate.shown()} detected{less}", estimate.n, (contender,)
            )
        elif len(group.values(contender, "detection", "success rate", "pgd", level)):
            few = f"{group.label(contender)}: fewer than {FEWEST_IMAGES} adversarial images on record"
            yield Statement("undecided", few, 0, (contender,))


def _detected(group: Group, contender: str, attack: str, level: float) -> OfSeeds:
    """The share detected of each seed that has enough adversarial images, in per cent."""
    detected, images = (
        group.values(contender, "detection", metric, attack, level) for metric in ("detected", "adversarial images")
    )
    enough = images.by_seed.reindex(detected.by_seed.index, fill_value=0) >= 100 * FEWEST_IMAGES
    return OfSeeds(detected.by_seed[enough], detected.step)


def multimnist_errs_by_five(group: Group) -> Statements:
    if group.dataset == "multimnist":
        for contender in group.which(network="capsnet", routing="dynamic", iterations=3):
            found = group.judged(group.accuracy(contender).complement())
            verdict = group.at_full_size(near(found, 5.2, MARGIN))
            if found.n:
                yield Statement(verdict, f"{group.label(contender)}: error {found.shown()}", found.n, (contender,))


def iterations_help(*routings: str) -> Judge:
    """Of some routings; with none named, of all that are in no paper's claim."""

    def judge(group: Group) -> Statements:
        whose = group.contenders["routing"]
        chosen = group.contenders[whose.isin(routings) if routings else ~whose.isin(["dynamic", "em"])]
        for _, alike in chosen.groupby("series", sort=False):
            three, one = (list(alike["contender"][alike["iterations"].eq(count).fillna(False)]) for count in (3, 1))
            yield from _against(group, three, one, above)

    return judge


def with_their_cnn(group: Group) -> list[tuple[str, str]]:
    baselines = group.contenders["baseline"].dropna()
    return [(str(one), str(other)) for one, other in baselines.items() if other in group.contenders.index]
