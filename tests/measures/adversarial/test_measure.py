"""The adversarial measure as a whole, on a trained capsule network and on one whose robust accuracy is known."""

import math

import pytest
import torch
from torch import nn

from capsbench.attacks.effort import EFFORTS
from capsbench.attacks.threats import Threat, bounds_of
from capsbench.data.images import Images, Splits
from capsbench.data.sets.digits import Digits
from capsbench.measures import Subject, make_measure
from capsbench.measures.adversarial.measure import Adversarial
from capsbench.networks.build import build_network
from capsbench.training.loop import train

CHECKS = {
    "unbounded attack",
    "PGD at least as strong as FGSM",
    "success monotone in epsilon",
    "doubled steps",
    "doubled restarts",
    "black box no stronger",
    "noise far weaker",
    "gradients not zero",
    "two forward passes equal",
    "adversarial images valid",
}


@pytest.fixture(scope="module")
def few_digits():
    """Digits with 40 test images: a table of 40 instead of 100 is quicker."""
    splits = Digits().load(None)
    return Splits(splits.train, splits.validation, Images(splits.test.images[:40], splits.test.labels[:40]))


def measured(cell, network, splits, setting=None):
    kept = {}
    rows = Adversarial(setting)(Subject(cell, network, splits, kept.update, kept=lambda measure: {}))
    return rows, kept


@pytest.fixture
def trained(make_cell, few_digits):
    """A tiny CapsNet, trained for three epochs: network, rows and what was kept."""
    cell = make_cell(epochs=3, iters=1)
    torch.manual_seed(0)
    network = build_network(cell)
    train(cell, network, few_digits)
    network.train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    of_torch = torch.get_rng_state()
    rows, kept = measured(cell, network, few_digits)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), of_torch)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.training
    return network, rows, kept


def test_a_trained_capsule_network(trained, few_digits):
    network, rows, kept = trained
    assert all(row.measure == "adversarial" and math.isfinite(row.value) for row in rows)
    values = {(row.metric, row.condition, row.level): row.value for row in rows}
    assert len(values) == len(rows)
    bounds = bounds_of("digits", Threat.LINF)

    # Every reading under every loss, and none below the worst case.
    worst = {level: value for (metric, name, level), value in values.items() if name == "Linf, worst case"}
    assert list(worst) == [0.0, *bounds.sweep]
    assert sorted(worst.values(), reverse=True) == list(worst.values())
    by_reading = {name: value for (metric, name, level), value in values.items() if name.startswith("Linf, pgd, ")}
    for reading in ("lengths", "share", "logit"):
        for loss in ("cross-entropy", "dlr", "margin"):
            assert by_reading[f"Linf, pgd, {reading}, {loss}"] >= worst[bounds.sweep[-1]]
    assert "Linf, pgd, scaled, cross-entropy" in by_reading
    for (metric, name, level), value in values.items():
        if metric == "robust accuracy" and name.startswith(("Linf", "black box")):
            assert value >= worst[level]
    assert values["robust accuracy", "L2, worst case", 0.0] == worst[0.0]

    # The checks, each with its evidence.
    held = {name: value for (metric, name, level), value in values.items() if metric == "sanity check"}
    assert set(held) == CHECKS
    assert set(held.values()) <= {0.0, 1.0}
    evidence = {name.partition(", ")[0] for (metric, name, level) in values if metric == "evidence"}
    assert evidence == CHECKS

    # What is kept speaks of the same images and agrees with the rows.
    test = few_digits.test
    index, label = kept["index"].long(), kept["label"]
    assert torch.equal(test.labels[index].int(), label)
    network.eval()
    with torch.no_grad():
        assert torch.equal(network(test.images[index]).argmax(dim=1).int(), kept["prediction"])
        assert 1 - float(kept["broken.Linf"].double().mean()) == pytest.approx(worst[bounds.headline])
        assert (kept["broken.Linf"] | ~kept["broken.black box"]).all()
        pictured = kept["pictured"].long()
        assert label[pictured].tolist() == sorted(set(label.tolist()))
        assert torch.equal(kept["clean images"], test.images[index[pictured]])
        adversarial = kept["images.Linf"]
        assert (adversarial - kept["clean images"]).abs().max() <= bounds.headline + 1e-6
        assert torch.equal(network(adversarial).argmax(dim=1).int(), kept["predictions.Linf"])
        fooled = kept["predictions.Linf"] != label[pictured]
        assert torch.equal(fooled, kept["broken.Linf"][pictured])


class Threshold(nn.Module):
    """Two classes, told apart by the mean pixel: an image withstands any epsilon below its distance from 1/2."""

    def forward(self, images):
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], dim=1)


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_the_worst_case_is_the_exact_robust_accuracy_where_that_is_known(make_cell, monkeypatch, precision):
    monkeypatch.setattr(Digits, "classes", 2)
    far = torch.linspace(0.013, 0.297, 30)
    labels = torch.arange(30) % 2
    levels = 0.5 + far * (2 * labels - 1)
    dtype = torch.float64 if precision == "float64" else torch.float32
    images = Images(levels.view(-1, 1, 1, 1).expand(-1, 1, 8, 8).to(dtype), labels)
    cell = make_cell(network="resnet", dataset="digits", precision=precision)
    rows, _ = measured(cell, Threshold(), Splits(images, images, images))
    worst = {(row.condition, row.level): row.value for row in rows if row.condition.endswith("worst case")}
    for epsilon in bounds_of("digits", Threat.LINF).sweep:
        assert worst["Linf, worst case", epsilon] == pytest.approx(float((far > epsilon).double().mean()))
    for epsilon in bounds_of("digits", Threat.L2).sweep:  # 64 pixels, each changed by epsilon / 8
        assert worst["L2, worst case", epsilon] == pytest.approx(float((far > epsilon / 8).double().mean()))
    assert not {row.condition for row in rows if ", dlr" in row.condition}


def test_the_same_images_are_drawn_for_every_network(make_cell, few_digits):
    cell = make_cell(network="resnet", dataset="digits")
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) for _ in range(2)]
    drawn = [measured(cell, network, few_digits)[1]["index"] for network in networks]
    assert torch.equal(*drawn)
    assert len(drawn[0].unique()) == 40


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        (dict(routing="em"), True),
        (dict(network="resnet"), True),
        (dict(network="capsnet", dataset="smallnorb"), True),
        (dict(network="transforming-autoencoder"), False),
        (dict(network="capsnet", dataset="multimnist"), False),
    ],
)
def test_which_cells_it_fits(make_cell, asked, fits):
    assert Adversarial.applies_to(make_cell(**asked)) == fits


def test_settings():
    assert make_measure("adversarial").setting == "light"
    assert make_measure("adversarial:full").setting == "full"


@pytest.mark.slow
def test_the_full_setting_makes_every_attack(make_cell, few_digits, monkeypatch):
    few = EFFORTS["full"]._replace(images=20, restarts=2, queries=20, nearest=2)
    monkeypatch.setitem(EFFORTS, "full", few)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    images, labels = few_digits.train
    means = torch.stack([images[labels == k].mean(dim=0).flatten() for k in range(10)])
    with torch.no_grad():  # the nearest mean
        network[1].weight.copy_(means)
        network[1].bias.copy_(-means.square().sum(dim=1) / 2)
    cell = make_cell(network="resnet", dataset="digits")
    rows, kept = measured(cell, network, few_digits, "full")
    assert len(kept["label"]) == 20
    made = {
        tuple(row.condition.split(", ")[:2]) for row in rows if row.metric in ("robust accuracy", "perturbation norm")
    }
    assert made == {
        *(("Linf", name) for name in ("worst case", "fgsm", "bim", "pgd", "apgd", "apgd-t", "noise")),
        *(("L2", name) for name in ("worst case", "pgd", "apgd", "apgd-t", "square", "cw", "deepfool")),
        ("black box", "square"),
        ("L0", "one-pixel"),
    }
    values = {(row.metric, row.condition): row.value for row in rows}
    for name in ("cw", "deepfool"):
        assert values["success", f"L2, {name}, logits"] == 1
        assert 0 < values["perturbation norm", f"L2, {name}, worst case, median"] < 2
    assert all(row.level in (1, 3, 5) for row in rows if row.condition == "L0, one-pixel")
