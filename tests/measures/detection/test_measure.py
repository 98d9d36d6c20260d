"""The detection measure on a network made by hand, whose reconstructions are known, and on real ones."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from torch import nn

from capsbench.attacks.effort import EFFORTS
from capsbench.attacks.threats import Threat, bounds_of
from capsbench.data.images import Images
from capsbench.measures.detection.measure import Detection, compute_auroc
from capsbench.networks.base import CapsuleNetwork
from capsbench.networks.build import build_network
from capsbench.networks.layers import Capsules

EPSILON = bounds_of("digits", Threat.LINF).published


class Plain(nn.Module):
    """Makes a plain image: dark of class 0, white of class 1."""

    def forward(self, poses, labels):
        return labels[:, None, None, None].to(poses).expand(-1, 1, 8, 8)


class Brightness(CapsuleNetwork):
    """Class 1 of images that are brighter than one half on average."""

    def __init__(self):
        super().__init__()
        self.decoder = Plain()

    def capsules(self, images):
        bright = images.mean(dim=(1, 2, 3))
        activations = torch.stack([1 - bright, bright], dim=1)
        return Capsules(activations[:, :, None, None], activations)


def grey(levels):
    """An image of one grey for each level; it is ``8 level`` away from a dark image, and ``8 (1 - level)`` from a white one."""
    return torch.tensor(levels)[:, None, None, None].expand(-1, 1, 8, 8).clone()


@pytest.fixture
def measured(subject, make_cell):
    """The values of a network made by hand by metric and condition, and what is kept."""

    def values(images, labels, validation=None):
        kept = {}
        made = subject(make_cell(), Brightness(), images, labels, kept)
        if validation is not None:
            made = replace(made, data=replace(made.data, validation=validation))
        rows = Detection()(made)
        assert {row.measure for row in rows} == {"detection"}
        values = {(row.metric, row.condition): row.value for row in rows}
        assert len(values) == len(rows)
        return values, kept

    return values


@pytest.fixture
def example():
    """40 dark and 40 bright images, of which 2 are misclassified."""
    levels = np.concatenate([np.linspace(0.1, 0.45, 40), np.linspace(0.55, 0.9, 40)])
    labels = torch.arange(80) // 40
    labels[[0, 79]] = 1 - labels[[0, 79]]
    return grey(levels.astype(np.float32)), labels, levels


# The detector


def test_the_threshold_lets_95_in_100_validation_images_pass(measured, example):
    images, labels, levels = example
    seen = np.linspace(0.05, 0.5, 200)
    validation = Images(grey(seen.astype(np.float32)), torch.zeros(200, dtype=torch.int64))
    values, _ = measured(images, labels, validation)
    threshold = 8 * np.quantile(np.minimum(seen, 1 - seen), 0.95)
    assert values["threshold", "validation"] == pytest.approx(threshold, rel=1e-4)
    distances = 8 * np.minimum(levels, 1 - levels)
    assert values["false positives", "test"] == pytest.approx((distances > threshold).mean())


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    clean, adversarial = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.5, 4.0, 2.0])
    pairs = [(a > c) + 0.5 * (a == c) for a in adversarial.tolist() for c in clean.tolist()]
    assert compute_auroc(clean, adversarial) == pytest.approx(np.mean(pairs))
    many, far = torch.randn(50, generator=torch.Generator().manual_seed(0)), torch.randn(30) + 1
    assert compute_auroc(many, far) == pytest.approx(mannwhitneyu(far, many).statistic / 1500)


# Attacks


def test_descent_ends_at_epsilon_and_is_detected_by_how_far_that_is(measured, example):
    """An image of grey g that is fooled is g + epsilon after the attack, or g - epsilon, all over."""
    images, labels, levels = example
    values, kept = measured(images, labels)
    threshold = values["threshold", "validation"]
    right = (levels > 0.5) == labels.numpy()
    fooled = right & (np.abs(levels - 0.5) < EPSILON)
    after = np.where(levels > 0.5, levels - EPSILON, levels + EPSILON)
    distances = 8 * np.minimum(after, 1 - after)
    detected = fooled & (distances > threshold)
    assert values["success rate", "pgd"] == pytest.approx(fooled.sum() / right.sum())
    assert values["undetected rate", "pgd"] == pytest.approx((fooled & ~detected).sum() / right.sum())
    assert values["detected", "pgd"] == pytest.approx(detected.sum() / fooled.sum())
    clean = torch.tensor(8 * np.minimum(levels, 1 - levels))
    assert values["AUROC", "pgd"] == pytest.approx(compute_auroc(clean, torch.tensor(distances[fooled])), abs=0.01)
    assert sorted(kept["image"].tolist()) == np.flatnonzero(right).tolist()


def test_the_reconstructive_attack_ends_nearer_to_the_reconstruction(measured, example):
    _, kept = measured(*example[:2])
    both = kept["pgd fooled"] & kept["reconstructive fooled"]
    assert both.any()
    assert (kept["reconstructive"][both] <= kept["pgd"][both] + 1e-5).all()


def test_the_worst_case_is_an_image_that_passes_by_either_attack(measured, example):
    values, kept = measured(*example[:2])
    passed = [
        kept[f"{name} fooled"] & (kept[name] <= values["threshold", "validation"]) for name in ("pgd", "reconstructive")
    ]
    assert values["undetected rate", "worst case"] == pytest.approx(float((passed[0] | passed[1]).double().mean()))


def test_pictures_are_images_beside_their_reconstructions(measured, example):
    images, labels, _ = example
    _, kept = measured(images, labels)
    assert kept["shown"].shape == (8, 6, 1, 8, 8)
    clean, made = kept["shown"][:, 0], kept["shown"][:, 1]
    assert torch.equal(clean, images[kept["image"][:8].long()])
    assert torch.equal(made, (clean.mean(dim=(1, 2, 3)) > 0.5).float()[:, None, None, None].expand_as(made))
    assert (kept["shown"][:, 2] - clean).abs().amax() <= EPSILON + 1e-6


def test_without_a_success_there_is_nothing_to_detect(measured):
    values, _ = measured(grey([0.05, 0.1, 0.9, 0.95]), torch.tensor([0, 0, 1, 1]))
    assert values["success rate", "pgd"] == values["undetected rate", "pgd"] == 0
    assert not {metric for metric, _ in values} & {"detected", "AUROC"}


def test_images_that_are_wrong_anyhow_are_not_attacked(measured):
    values, kept = measured(grey([0.1, 0.9]), torch.tensor([1, 0]))
    assert {condition for _, condition in values} == {"validation", "test"}
    assert len(kept["image"]) == 0


# As a whole


@pytest.mark.parametrize(
    "asked",
    [dict(routing="dynamic"), dict(routing="em", reconstruction=True, precision="bfloat16"), dict(precision="float64")],
)
def test_real_networks_have_all_rows_and_are_left_as_they_were(make_cell, subject, monkeypatch, asked):
    monkeypatch.setitem(EFFORTS, "light", EFFORTS["light"]._replace(images=10, steps=3, every=True))
    cell = make_cell(**asked)
    torch.manual_seed(0)
    network = build_network(cell)
    images = torch.rand(12, 1, 8, 8, dtype=next(network.parameters()).dtype)
    labels = network.eval()(images).argmax(dim=1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    kept = {}
    rows = Detection()(subject(cell, network, images, labels, kept))
    for name in ("pgd", "reconstructive"):
        levels = {row.level for row in rows if (row.metric, row.condition) == ("success rate", name)}
        assert levels == set(bounds_of("digits", Threat.LINF).sweep)
    assert len(kept["image"]) == 10
    assert all(math.isfinite(row.value) for row in rows)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert Detection()(subject(cell, network, images, labels)) == rows


def test_it_needs_a_decoder(make_cell):
    assert Detection.applies_to(make_cell())
    assert not Detection.applies_to(make_cell(reconstruction=False))
    assert not Detection.applies_to(make_cell(network="resnet"))
    assert not Detection.applies_to(make_cell(dataset="smallnorb"))
    assert not Detection.applies_to(make_cell(dataset="multimnist"))
    assert Detection.clean.keys() == set(Detection.settings)
