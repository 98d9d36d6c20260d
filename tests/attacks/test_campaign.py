"""A campaign on a network that is right about all images but one, with attacks whose results the tests choose."""

import pytest
import torch
from torch import nn

from capsbench.attacks import campaign as campaign_module
from capsbench.attacks.adapter import Attack, Attacked
from capsbench.attacks.campaign import SEED, Campaign, Run
from capsbench.attacks.readings import Pixels
from capsbench.attacks.threats import Threat
from capsbench.data.images import Images

LABELS = torch.tensor([0, 1, 2, 0])
PIXELS = (
    torch.eye(3)[[0, 1, 2, 1]].view(4, 1, 1, 3) / 2
)  # the brightest pixel is the class; the last image looks like a 1
PGD = Attack("pgd", epsilon=0.25)


@pytest.fixture
def campaign(make_cell):
    images = Images(4 * PIXELS, LABELS)
    return Campaign(make_cell(network="resnet"), nn.Flatten(), images, Pixels(0.0, 4.0), {Threat.LINF: 0.25})


@pytest.fixture
def results(monkeypatch):
    """Lets attacks add `change` to the images that they are given, and notes these images, their labels and the seed."""
    calls = []

    def set_change(change, invalid=False):
        def attack_images(attack, reading, images, labels, *, seed):
            calls.append((images, labels, seed))
            return Attacked(images + change, torch.full((len(labels),), invalid))

        monkeypatch.setattr(campaign_module, "attack_images", attack_images)
        return calls

    return set_change


def test_misclassified_images_are_broken_at_any_epsilon_and_not_attacked(campaign, results):
    calls = results(torch.tensor([0.0, 0.0, 0.75]))
    assert campaign.wrong.tolist() == [False, False, False, True]
    run = campaign.run_attack(PGD, "logits")
    images, labels, seed = calls[0]
    torch.testing.assert_close(images, PIXELS[:3])  # in [0, 1]
    assert labels.tolist() == [0, 1, 2]
    assert seed == SEED == 0
    assert run.reach.tolist() == [0.25, 0.25, torch.inf, torch.inf]
    assert run.broken.tolist() == [True, True, False, False]
    assert campaign.find_broken(Threat.LINF, 0.25).tolist() == [True, True, False, True]
    assert campaign.find_broken(Threat.LINF, 0.24).tolist() == [False, False, False, True]
    assert campaign.find_broken(Threat.BLACK_BOX, 1.0).tolist() == [True, True, False, True]  # the same ball
    assert campaign.find_broken(Threat.L2, 1.0).tolist() == [False, False, False, True]
    assert campaign.find_broken(Threat.LINF, 1.0, []).tolist() == [False, False, False, True]
    assert campaign.compute_accuracy(run) == 0.25


def test_a_run_on_some_images_leaves_the_others(campaign, results):
    calls = results(torch.tensor([0.0, 0.0, 0.75]), invalid=True)
    on = torch.tensor([False, True, True, True])
    run = campaign.run_attack(PGD, "logits", on, own=False, seed=7)
    assert calls[0][1].tolist() == [1, 2]
    assert calls[0][2] == 7
    assert not run.own
    assert run.reach.tolist() == [torch.inf, 0.25, torch.inf, torch.inf]
    assert run.invalid.tolist() == [False, True, True, False]
    assert campaign.compute_accuracy(run) == pytest.approx(1 / 3)
    nobody = campaign.run_attack(PGD, "logits", torch.tensor([False, False, False, True]))
    assert len(calls) == 1
    assert nobody.own
    assert not nobody.broken.any()
    assert campaign.runs[0] is run


def test_an_attack_without_a_bound_reaches_as_far_as_it_went(campaign, results):
    results(torch.tensor([0.0, 0.6, 0.8]))
    run = campaign.run_attack(Attack("deepfool", Threat.L2), "logits")
    assert run.reach.tolist() == [pytest.approx(1.0), torch.inf, torch.inf, torch.inf]


def test_the_first_adversarial_image_at_the_headline_is_kept(campaign, results):
    results(torch.tensor([0.0, 0.0, 0.75]))
    campaign.run_attack(Attack("pgd", epsilon=0.125), "logits")
    assert torch.equal(campaign.examples[Threat.LINF], campaign.images)
    campaign.run_attack(PGD, "logits", torch.tensor([True, False, True, True]))
    results(torch.tensor([0.0, 0.0, 0.875]))
    campaign.run_attack(PGD, "logits")
    changes = (campaign.examples[Threat.LINF] - campaign.images).flatten(1)[:, 2]
    assert changes.tolist() == [0.75, 0.875, 0, 0]


def test_white_box_runs_are_those_that_follow_a_gradient(campaign):
    never = torch.full((4,), torch.inf)
    for attack in (PGD, Attack("noise", epsilon=0.25), Attack("square", Threat.BLACK_BOX, 0.25)):
        campaign.runs.append(Run(attack, "logits", never > 0, True, never, never < 0))
    assert [run.attack.name for run in campaign.list_white_box()] == ["pgd"]
