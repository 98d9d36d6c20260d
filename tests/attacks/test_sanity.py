"""The checks on a network that hides nothing, and on the same with its gradient hidden in several ways."""

import pytest
import torch
from torch import nn

from capsbench.attacks.campaign import Campaign
from capsbench.attacks.effort import EFFORTS
from capsbench.attacks.plan import Plan
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
