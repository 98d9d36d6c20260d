"""Attacks against closed forms and another library, and each trap of torchattacks once."""

import importlib
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from capsbench.attacks import Attack, Threat, adapter, attacked, perturbed
from capsbench.attacks.adapter import ATTACKS, zero_gradient
from capsbench.errors import UsageError


def every_attack(epsilon=0.2, steps=4):
    """Each attack under each threat and loss that it has."""
    for name, kind in ATTACKS.items():
        for threat, losses in kind.losses.items():
            size = 3 if threat is Threat.L0 else epsilon
            for loss in losses:
                yield Attack(name, threat, size if kind.bounded else 0.0, loss, steps)


@pytest.fixture(scope="module")
def foolbox():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of SciPy, on what foolbox imports
        return importlib.import_module("foolbox")


EVERY = list(every_attack())
NAMES = [f"{attack.name}, {attack.threat}, {attack.loss}" for attack in EVERY]


def images_of(channels, count=6, side=8):
    """Images with pixels of exactly 0 and 1 among others."""
    images = torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0))
    images[:, :, 0], images[:, :, 1] = 0, 1
    return images


class Network(nn.Module):
    """With batch norm and dropout, whose training mode would change both what it gives and its own state."""

    def __init__(self, channels=1, classes=10, side=8):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.drop = nn.BatchNorm2d(channels), nn.Dropout(0.5)
        self.linear = nn.Linear(channels * side * side, classes)

    def forward(self, images):
        return self.linear(self.drop(self.norm(images).flatten(1)))


def labels_of(network, images):
    """What the network takes images for, so that there is something to attack."""
    network.eval()
    with torch.no_grad():
        return network(images).argmax(dim=1)


def accuracy(network, images, labels):
    return float((labels_of(network, images) == labels).double().mean())


# Against the truth


def linear_problem(classes, count=200, side=5):
    """A linear classifier, images so far from 0 and 1 that these bounds play no part, and its own predictions."""
    random = torch.Generator().manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(side * side, classes)).double()
    with torch.no_grad():
        network[1].weight.copy_(torch.randn(classes, side * side, generator=random, dtype=torch.double))
        network[1].bias.copy_(-network[1].weight.sum(dim=1) / 2)  # a grey image is on the fence
    images = 0.35 + 0.3 * torch.rand(count, 1, side, side, generator=random, dtype=torch.double)
    return network, images, labels_of(network, images)


def exact_robust_accuracy(network, images, labels, epsilon, dual_order):
    """z_y - z_k falls by epsilon |w_y - w_k| at most, in the dual norm: the share of images where that leaves it above 0."""
    weights, logits = network[1].weight.detach(), network(images).detach()
    right = 0
    for row, label in zip(logits, labels, strict=True):
        margins = [
            float(row[label] - row[k] - epsilon * torch.linalg.vector_norm(weights[label] - weights[k], dual_order))
            for k in range(len(row))
            if k != label
        ]
        right += min(margins) > 0
    return right / len(labels)


@pytest.mark.parametrize(("threat", "epsilon", "dual"), [(Threat.LINF, 0.015, 1), (Threat.L2, 0.06, 2)])
def test_pgd_finds_the_exact_robust_accuracy_of_a_linear_classifier(threat, epsilon, dual):
    network, images, labels = linear_problem(classes=2)
    exact = exact_robust_accuracy(network, images, labels, epsilon, dual)
    assert 0.2 < exact < 0.8
    for loss in ATTACKS["pgd"].losses[threat][:: 1 if threat is Threat.L2 else 2]:  # dlr needs a third class
        found = perturbed(Attack("pgd", threat, epsilon, loss, step=epsilon / 4), network, images, labels, seed=0)
        assert accuracy(network, found, labels) == exact


@pytest.mark.parametrize(("threat", "epsilon", "dual"), [(Threat.LINF, 0.01, 1), (Threat.L2, 0.04, 2)])
def test_targeted_apgd_finds_it_among_five_classes(threat, epsilon, dual):
    network, images, labels = linear_problem(classes=5)
    exact = exact_robust_accuracy(network, images, labels, epsilon, dual)
    assert 0.2 < exact < 0.8
    found = perturbed(Attack("apgd-t", threat, epsilon, steps=40), network, images, labels, seed=0)
    assert accuracy(network, found, labels) == exact


def test_the_nearest_adversarial_image_of_a_linear_classifier_lies_across_the_hyperplane():
    network, images, labels = linear_problem(classes=2, count=8)
    logits, difference = network(images).detach(), (network[1].weight[0] - network[1].weight[1]).detach()
    nearest = (logits[:, 0] - logits[:, 1]).abs() / torch.linalg.vector_norm(difference)
    found = perturbed(Attack("deepfool", Threat.L2), network, images, labels, seed=0)
    torch.testing.assert_close(Threat.L2.distance(found, images), 1.02 * nearest)  # its overshoot
    cw = Attack("cw", Threat.L2, steps=200, constants=(0.01, 0.1, 1.0))
    found = perturbed(cw, network, images, labels, seed=0)
    ratio = Threat.L2.distance(found, images) / nearest
    assert accuracy(network, found, labels) == 0
    assert (ratio > 1).all()
    assert ratio.median() < 1.1


def test_fgsm_and_bim_give_the_images_of_foolbox(foolbox, honest, digits):
    theirs = foolbox.PyTorchModel(honest, bounds=(0, 1), device="cpu")
    one_step = foolbox.attacks.LinfFastGradientAttack(random_start=False)
    steps = foolbox.attacks.LinfProjectedGradientDescentAttack(abs_stepsize=0.02, steps=10, random_start=False)
    for epsilon in (0.05, 0.1):
        expected = one_step.run(theirs, *digits, epsilon=epsilon)
        found = perturbed(Attack("fgsm", epsilon=epsilon), honest, *digits, seed=0)
        torch.testing.assert_close(found, expected)
        expected = steps.run(theirs, *digits, epsilon=epsilon)
        found = perturbed(Attack("bim", epsilon=epsilon, steps=10, step=0.02), honest, *digits, seed=0)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("threat", [Threat.LINF, Threat.L2])
def test_pgd_gives_the_robust_accuracy_of_foolbox(foolbox, honest, digits, threat):
    theirs = foolbox.PyTorchModel(honest, bounds=(0, 1), device="cpu")
    kind, epsilons = (
        (foolbox.attacks.LinfProjectedGradientDescentAttack, (0.05, 0.1))
        if threat is Threat.LINF
        else (foolbox.attacks.L2ProjectedGradientDescentAttack, (0.25, 0.5))
    )
    for epsilon in epsilons:
        torch.manual_seed(0)
        attack = kind(abs_stepsize=epsilon / 10, steps=40)
        expected = accuracy(honest, attack.run(theirs, *digits, epsilon=epsilon), digits.labels)
        found = perturbed(Attack("pgd", threat, epsilon, step=epsilon / 10), honest, *digits, seed=0)
        assert 0 < expected < accuracy(honest, *digits)
        assert accuracy(honest, found, digits.labels) == pytest.approx(expected, abs=1.01 / len(digits.labels))


# What every attack gives


@pytest.mark.parametrize(("channels", "classes"), [(1, 10), (3, 5), (2, 4)])
@pytest.mark.parametrize("attack", EVERY, ids=NAMES)
def test_channels_and_classes(attack, channels, classes):
    network, images = Network(channels, classes), images_of(channels)
    labels = labels_of(network, images)
    found = attacked(attack, network, images, labels, seed=0)
    assert found.images.shape == images.shape
    assert found.images.dtype == images.dtype
    assert not found.images.requires_grad
    assert not found.invalid.any()
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    if attack.bounded:
        assert attack.threat.distance(found.images, images).max() <= attack.epsilon + 1e-5


@pytest.mark.parametrize("attack", EVERY, ids=NAMES)
def test_double_precision_mixed_precision_and_deterministic_mode(attack):
    images = images_of(1, count=3)
    torch.use_deterministic_algorithms(True)
    try:
        double = Network().double()
        found = perturbed(attack, double, images.double(), labels_of(double, images.double()), seed=0)
        assert found.dtype == torch.float64
        with torch.autocast("cpu", torch.bfloat16):
            network = Network()
            labels = labels_of(network, images)
            first, again = (perturbed(attack, network, images, labels, seed=0) for _ in range(2))
        assert first.dtype == torch.float32
        assert torch.equal(first, again)
    finally:
        torch.use_deterministic_algorithms(False)


# What every attack leaves as it was


def state(network):
    modes = [module.training for module in network.modules()]
    wanted = [parameter.requires_grad for parameter in network.parameters()]
    gradients = [None if parameter.grad is None else parameter.grad.clone() for parameter in network.parameters()]
    return modes, wanted, gradients, [each.clone() for each in network.state_dict().values()]


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return len(one) == len(other) and all(map(same, one, other)) if isinstance(one, list | tuple) else one == other


def half_trained(**settings):
    """A network whose modules are not all in one mode, with a frozen parameter and a gradient."""
    network = Network(**settings).train()
    network.norm.eval()
    network.linear.bias.requires_grad_(False)
    network.linear.weight.grad = torch.ones_like(network.linear.weight)
    return network


@pytest.mark.parametrize("attack", EVERY, ids=NAMES)
def test_the_network_and_the_random_numbers_stay_as_they_were(attack):
    images = images_of(1)
    labels = labels_of(Network(), images)
    network = half_trained()
    before, of_torch, of_numpy = state(network), torch.get_rng_state(), np.random.get_state()[1].copy()
    perturbed(attack, network, images, labels, seed=3)
    assert same(state(network), before)
    assert torch.equal(torch.get_rng_state(), of_torch)
    assert np.array_equal(np.random.get_state()[1], of_numpy)


@pytest.mark.parametrize("attack", EVERY, ids=NAMES)
def test_they_stay_as_they_were_when_the_network_raises(attack):
    class Failing(Network):
        calls = 0

        def forward(self, images):
            self.calls += 1
            if self.calls == 2:
                raise RuntimeError("out of order")
            return super().forward(images)

    images = images_of(1)
    labels = labels_of(Network(), images)
    network = Failing().train()
    network.norm.eval()
    before, of_torch = state(network), torch.get_rng_state()
    with pytest.raises(RuntimeError, match="out of order"):
        perturbed(attack, network, images, labels, seed=0)
    assert same(state(network), before)
    assert torch.equal(torch.get_rng_state(), of_torch)


@pytest.mark.parametrize("attack", EVERY, ids=NAMES)
def test_a_seed_decides_what_is_drawn(attack):
    network, images = Network(), images_of(1)
    labels = labels_of(network, images)
    one, again = (perturbed(attack, network, images, labels, seed=0) for _ in range(2))
    assert torch.equal(one, again)
    other = perturbed(attack, network, images, labels, seed=1)
    drawn = attack.name in ("pgd", "noise") and attack.threat is Threat.LINF
    assert not (drawn and torch.equal(one, other))


# One trap each


def test_a_zero_gradient_gives_the_clean_image_and_is_counted():
    class Flat(nn.Module):
        def forward(self, images):
            return (images.mean(dim=(1, 2, 3)).round() * 0)[:, None] + torch.tensor([1.0, 0.0, 0.0])

    images = images_of(1)
    labels = torch.zeros(len(images), dtype=torch.int64)
    found = attacked(Attack("deepfool", Threat.L2), Flat(), images, labels, seed=0)
    assert found.invalid.all()
    assert torch.equal(found.images, images)
    for loss in ("cross-entropy", "dlr", "margin"):
        assert zero_gradient(Flat(), images, labels, loss).all()
        found = attacked(Attack("pgd", epsilon=0.1, loss=loss), Flat(), images, labels, seed=0)
        assert not found.invalid.any()  # the random start


def test_a_network_without_any_gradient_is_attacked_all_the_same():
    class Detached(Network):
        def forward(self, images):
            return super().forward(images.detach())

    network, images = Detached(), images_of(1)
    labels = labels_of(network, images)
    for attack in EVERY:
        perturbed(attack, network, images, labels, seed=0)
    assert zero_gradient(network, images, labels, "cross-entropy").all()


@pytest.mark.parametrize("loss", ["cross-entropy", "dlr", "margin"])
def test_the_gradient_of_an_honest_network_is_not_zero(honest, digits, loss):
    right = labels_of(honest, digits.images) == digits.labels
    assert not zero_gradient(honest, digits.images[right], digits.labels[right], loss).any()


def test_cw_moves_pixels_that_are_exactly_0_or_1(honest, digits):
    images = digits.images[:3].round()  # all of them
    labels = labels_of(honest, images)
    found = perturbed(Attack("cw", Threat.L2, steps=600, constants=(10.0,)), honest, images, labels, seed=0)
    assert accuracy(honest, found, labels) < 0.1


@pytest.mark.parametrize(
    "attack", [Attack("cw", Threat.L2, steps=50), Attack("pgd", epsilon=0.1, loss="margin")], ids=["cw", "margin"]
)
def test_negative_logits_are_attacked_as_well_as_positive_ones(honest, digits, attack):
    shifted = nn.Sequential(honest, nn.LogSoftmax(dim=1))
    images = digits.images[:20]
    labels = labels_of(honest, images)
    shares = [accuracy(honest, perturbed(attack, each, images, labels, seed=0), labels) for each in (honest, shifted)]
    assert shares[0] < 0.9
    assert shares[1] == pytest.approx(shares[0], abs=0.051)


def test_a_network_without_parameters_is_attacked_in_silence(capsys):
    images = images_of(1)
    labels = labels_of(nn.Flatten(), images)
    perturbed(Attack("fgsm", epsilon=0.1), nn.Flatten(), images, labels, seed=0)
    assert capsys.readouterr().out == ""


def test_what_does_not_fit_into_memory_is_attacked_in_halves(honest, digits):
    class Small(nn.Module):
        def __init__(self, room):
            super().__init__()
            self.network, self.room = honest, room

        def forward(self, images):
            if len(images) > self.room:
                raise torch.OutOfMemoryError("no room")
            return self.network(images)

    attack = Attack("pgd", epsilon=0.1, steps=3)
    found = attacked(attack, Small(room=16), *digits, seed=0, batch=60)
    assert torch.equal(found.images, attacked(attack, honest, *digits, seed=0, batch=15).images)
    with pytest.raises(torch.OutOfMemoryError):
        attacked(attack, Small(room=0), *digits, seed=0)


def test_restarts_never_break_less(honest, digits):
    def broken(restarts):
        attack = Attack("noise", epsilon=0.3, restarts=restarts)
        return labels_of(honest, perturbed(attack, honest, *digits, seed=0)) != digits.labels

    once, thrice = broken(1), broken(3)
    assert (thrice | ~once).all()
    assert thrice.sum() > once.sum()


def test_cw_does_not_depend_on_batch_mates(honest, digits):
    attack, (images, labels) = Attack("cw", Threat.L2, steps=50), digits
    together = perturbed(attack, honest, images[:4], labels[:4], seed=0)
    alone = [perturbed(attack, honest, images[i : i + 1], labels[i : i + 1], seed=0) for i in range(4)]
    assert torch.equal(together, torch.cat(alone))


def test_the_nearest_of_several_constants_is_kept(honest, digits):
    images, labels = digits.images[:5], digits.labels[:5]

    def distances(*constants):
        found = perturbed(Attack("cw", Threat.L2, steps=50, constants=constants), honest, images, labels, seed=0)
        fooled = labels_of(honest, found) != labels
        return Threat.L2.distance(found, images).where(fooled, torch.inf)

    alone = torch.stack([distances(constant) for constant in (1.0, 10.0)])
    assert torch.equal(distances(1.0, 10.0), alone.amin(dim=0))


def test_no_images_are_no_attack(honest):
    found = attacked(Attack("fgsm", epsilon=0.1), honest, torch.zeros(0, 1, 8, 8), torch.zeros(0).long(), seed=0)
    assert found.images.shape == (0, 1, 8, 8)
    assert found.invalid.shape == (0,)


# What cannot be done


@pytest.mark.parametrize(
    ("attack", "classes", "reason"),
    [
        (Attack("pgd", epsilon=0.1, loss="dlr"), 2, "dlr: expected a network of at least 3 classes, got 2"),
        (Attack("apgd", epsilon=0.1, loss="dlr"), 2, "dlr: expected a network of at least 3 classes, got 2"),
        (Attack("apgd-t", epsilon=0.1), 3, "apgd-t: expected a network of at least 4 classes, got 3"),
    ],
)
def test_too_few_classes(attack, classes, reason):
    with pytest.raises(ValueError, match=reason):
        perturbed(attack, Network(classes=classes), images_of(1), torch.zeros(6).long(), seed=0)


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (images_of(1) * 255, torch.zeros(6).long(), r"images: expected pixels from 0 to 1, got 0 to 255"),
        (images_of(1) * torch.nan, torch.zeros(6).long(), r"images: expected pixels from 0 to 1, got nan to nan"),
        (images_of(1)[0], torch.zeros(1).long(), r"images: expected \[N, C, H, W\] .*, got \[1, 8, 8\]"),
        (images_of(1), torch.zeros(6, 2).long(), r"labels: expected \[6\] of an integer type, got \[6, 2\]"),
        (images_of(1), torch.full((6,), 10), r"labels: expected 0 to 9, got 10 to 10"),
    ],
)
def test_images_and_labels_that_are_none(images, labels, reason):
    with pytest.raises(ValueError, match=reason):
        perturbed(Attack("fgsm", epsilon=0.1), Network(), images, labels, seed=0)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (dict(name="autoattack", epsilon=0.1), r"name: expected fgsm or bim .*, got 'autoattack'"),
        (dict(name="fgsm", threat=Threat.L2, epsilon=0.1), r"threat of fgsm: expected Linf, got"),
        (
            dict(name="pgd", threat=Threat.L2, epsilon=0.1, loss="dlr"),
            r"loss of pgd under L2: expected cross-entropy, got 'dlr'",
        ),
        (dict(name="fgsm"), r"epsilon of fgsm: expected a number above 0, got 0.0"),
        (
            dict(name="cw", threat=Threat.L2, epsilon=1.0),
            r"epsilon of cw: expected 0, since it looks for the nearest, got 1.0",
        ),
        (dict(name="one-pixel", threat=Threat.L0, epsilon=0.5), r"epsilon of one-pixel: expected a whole number"),
    ],
)
def test_settings_that_no_attack_has(settings, reason):
    with pytest.raises(ValueError, match=reason):
        Attack(**settings)


def test_torchattacks_may_be_missing(monkeypatch, honest, digits):
    monkeypatch.setattr(adapter.importlib.util, "find_spec", lambda name: None)
    assert adapter.missing() == 'torchattacks is not installed; pip install "capsbench[attacks]"'
    with pytest.raises(UsageError, match="torchattacks is not installed"):
        perturbed(Attack("fgsm", epsilon=0.1), honest, *digits, seed=0)


def test_torchattacks_is_not_imported_before_an_attack_is_made():
    code = "import sys, capsbench.measures.adversarial; sys.exit('torchattacks' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
