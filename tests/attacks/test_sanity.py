"""The checks on a network that hides nothing, and on the same with its gradient hidden in several ways."""

import pytest
import torch
from torch import nn

from capsbench.attacks.adapter import Attack
from capsbench.attacks.campaign import Campaign, Run
from capsbench.attacks.effort import EFFORTS
from capsbench.attacks.plan import Choice, Plan
from capsbench.attacks.readings import Pixels
from capsbench.attacks.sanity import find_zero_gradients, run_checks
from capsbench.attacks.threats import Threat, bounds_of
from capsbench.data.images import Images
from capsbench.data.sets.digits import Digits


class Hidden(nn.Module):
    """Base class of a network that predicts what another does, but for its gradient."""

    def __init__(self, network):
        super().__init__()
        self.network = network


class Saturated(Hidden):
    """Sigmoids so steep that they are exactly 0 and 1: no loss has a gradient."""

    def forward(self, images):
        logits = self.network(images)
        between = logits.topk(2, dim=1).values.mean(dim=1, keepdim=True)
        return torch.sigmoid(1000 * (logits - between))


class Stretched(Hidden):
    """Logits times 100: their softmax is exactly 0 and 1, and cross-entropy has no gradient; other losses have."""

    def forward(self, images):
        return 100 * self.network(images)


class Stepped(Hidden):
    """Pixels rounded to a few grey levels: a step function, whose gradient is 0 wherever it has one."""

    def forward(self, images):
        return self.network((images * 8).round() / 8)


class Random(Hidden):
    """Noise is added to the pixels, another in each pass."""

    def forward(self, images):
        return self.network(images + 0.1 * torch.randn_like(images))


@pytest.fixture(scope="module")
def judged(honest):
    """Makes the checks on a network, and gives those that failed, all evidence, and the worst case by epsilon."""
    test = Digits().load(None).test

    def judge(make_cell, network):
        bounds = bounds_of("digits", Threat.LINF)
        cell = make_cell(network="resnet", dataset="digits")
        campaign = Campaign(
            cell, network, Images(test.images[:100], test.labels[:100]), Pixels(), {Threat.LINF: bounds.headline}
        )
        plan = Plan(campaign, bounds, Threat.LINF, EFFORTS["light"], classes=10)
        plan.carry_out()
        found = run_checks(plan, find_zero_gradients(campaign, plan.list_losses("pgd")))
        evidence = {name: value for check in found for name, value in check.evidence.items()}
        worst = {epsilon: int((~campaign.find_broken(Threat.LINF, epsilon)).sum()) for epsilon in bounds.sweep}
        return {check.name for check in found if not check.held}, evidence, worst

    return judge


def test_an_honest_network_raises_no_warning(make_cell, judged, honest):
    failed, evidence, worst = judged(make_cell, honest)
    assert failed == set()
    assert evidence["robust accuracy at epsilon 1"] == 0
    assert evidence["zero gradients, most"] == 0
    assert worst[0.05] > worst[0.1] > worst[0.2]


def test_a_saturated_sigmoid_is_found_out(make_cell, judged, honest):
    failed, evidence, worst = judged(make_cell, Saturated(honest))
    assert {"gradients not zero", "unbounded attack"} <= failed
    assert evidence["zero gradients, most"] > 0.9
    assert worst[0.2] > 80  # which is what one would believe without the checks


def test_logits_times_100_are_found_out_and_broken_all_the_same(make_cell, judged, honest):
    _, _, honest_worst = judged(make_cell, honest)
    failed, evidence, worst = judged(make_cell, Stretched(honest))
    assert failed == {"gradients not zero"}
    assert evidence["zero gradients, most"] > 0.5
    for epsilon, right in worst.items():  # by the losses that do not see a scale
        assert right == pytest.approx(honest_worst[epsilon], abs=2)


def test_a_step_function_is_found_out(make_cell, judged, honest):
    failed, evidence, worst = judged(make_cell, Stepped(honest))
    assert {"gradients not zero", "unbounded attack", "black box no stronger"} <= failed
    assert evidence["robust accuracy at epsilon 0.5"] > 0.2
    assert worst[0.2] > 80


def test_a_random_network_is_found_out(make_cell, judged, honest):
    failed, _, _ = judged(make_cell, Random(honest))
    assert "two forward passes equal" in failed


COUNT = 300
"""Three of so many images are tolerated; 120 are of the largest class, and the network is wrong about the last two."""

EDGE = {
    "fgsm": 103,
    "pgd": (103, 100, 110, 107),
    "grey": 178,
    "free": 295,
    "steps": 3,
    "restarts": 3,
    "square": 106,
    "noise": 51,
    "zero": 3,
    "invalid": 0,
}
"""How many images, from the first on, each attack breaks, and what else the checks count: all of them just hold."""


@pytest.fixture
def judge_counts(make_cell):
    """Makes the checks on runs that broke the given numbers of images."""

    def judge(**changes):
        counts = {**EDGE, **changes}
        labels = torch.tensor([0] * 120 + [1] * 90 + [2] * 90)
        seen = torch.cat([labels[:-2], torch.tensor([0, 1])])
        images = Images(torch.eye(3)[seen].view(COUNT, 1, 1, 3), labels)
        bounds = bounds_of("digits", Threat.LINF)
        campaign = Campaign(make_cell(network="resnet", dataset="digits"), nn.Flatten(), images, Pixels(), {})
        ranks = torch.arange(COUNT)

        def add_run(name, epsilon, broken, threat=Threat.LINF, own=True):
            reach = torch.where(ranks < broken, epsilon, torch.inf)
            invalid = ranks < counts["invalid"]
            campaign.runs.append(Run(Attack(name, threat, epsilon), "logits", ranks >= 0, own, reach, invalid))

        add_run("fgsm", bounds.headline, counts["fgsm"])
        for epsilon, broken in zip(reversed(bounds.sweep), reversed(counts["pgd"]), strict=True):
            add_run("pgd", epsilon, broken)
        for epsilon, broken in ((0.5, counts["grey"]), (1.0, counts["free"])):
            add_run("pgd", epsilon, broken, own=False)
        add_run("square", bounds.headline, counts["square"], Threat.BLACK_BOX)
        add_run("noise", bounds.headline, counts["noise"])
        plan = Plan(campaign, bounds, Threat.LINF, EFFORTS["light"], classes=3)
        plan.strongest = [Choice("pgd", "cross-entropy", "logits")]
        plan.gains = {"steps": counts["steps"], "restarts": counts["restarts"]}
        zero = {("logits", loss): ranks < counts["zero"] - less for less, loss in enumerate(("margin", "dlr"))}
        return run_checks(plan, zero)

    return judge


def test_counts_within_tolerance_hold(judge_counts):
    checks = judge_counts()
    assert [check.name for check in checks if not check.held] == []
    assert {name: round(share * COUNT, 6) for check in checks for name, share in check.evidence.items()} == {
        "robust accuracy at epsilon 0.5": 120,
        "robust accuracy at epsilon 1": 3,
        "broken by FGSM": 103,
        "broken by PGD": 100,
        "greatest drop of success": 3,
        "broken by the last doubling of steps": 3,
        "broken by the last doubling of restarts": 3,
        "broken by the black box alone": 3,
        "broken by uniform noise": 51,
        "broken by gradients": 103,
        "zero gradients, most": 3,
        "images with unequal scores": 0,
        "images with an invalid attack": 0,
    }


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"grey": 177}, "unbounded attack"),
        ({"free": 294}, "unbounded attack"),
        ({"fgsm": 104}, "PGD at least as strong as FGSM"),
        ({"pgd": (103, 100, 110, 106)}, "success monotone in epsilon"),
        ({"steps": 4}, "doubled steps"),
        ({"restarts": 4}, "doubled restarts"),
        ({"square": 107}, "black box no stronger"),
        ({"noise": 52}, "noise far weaker"),
        ({"zero": 4}, "gradients not zero"),
        ({"invalid": 1}, "adversarial images valid"),
    ],
)
def test_one_image_more_fails_one_check(judge_counts, changes, name):
    assert [check.name for check in judge_counts(**changes) if not check.held] == [name]


def test_success_that_only_grows_has_no_drop(judge_counts):
    evidence = judge_counts(pgd=(90, 100, 110, 120))[2].evidence
    assert evidence == {"greatest drop of success": 0}


def test_noise_may_break_as_many_as_are_tolerated_where_gradients_break_none(judge_counts):
    counts = {"fgsm": 0, "pgd": (0, 0, 0, 0), "square": 0}
    assert judge_counts(**counts, noise=3)[6].held
    assert not judge_counts(**counts, noise=4)[6].held
