"""The adapter: what every attack gives, what it leaves as it was, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from capsbench.attacks import library
from capsbench.attacks.adapter import Attack, attack_images, has_zero_gradient, perturb_images
from capsbench.attacks.threats import Threat
from capsbench.errors import ArgumentError, Kind, UsageError
from tests.attacks.cases import EVERY, NAMES, Network, images_of, labels_of

# What every attack gives


@pytest.mark.parametrize(("channels", "classes"), [(1, 10), (3, 5), (2, 4)])
@pytest.mark.parametrize("attack", EVERY, ids=NAMES)
def test_channels_and_classes(attack, channels, classes):
    network, images = Network(channels, classes), images_of(channels)
    labels = labels_of(network, images)
    found = attack_images(attack, network, images, labels, seed=0)
    assert found.images.shape == images.shape
    assert found.images.dtype == images.dtype
    assert not found.images.requires_grad
    assert not found.invalid.any()
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    if attack.bounded:
        assert attack.threat.measure_distance(found.images, images).max() <= attack.epsilon + 1e-5


@pytest.mark.parametrize("attack", EVERY, ids=NAMES)
def test_double_precision_mixed_precision_and_deterministic_mode(attack):
    images = images_of(1, count=3)
    torch.use_deterministic_algorithms(True)
    try:
        double = Network().double()
        found = perturb_images(attack, double, images.double(), labels_of(double, images.double()), seed=0)
        assert found.dtype == torch.float64
        with torch.autocast("cpu", torch.bfloat16):
            network = Network()
            labels = labels_of(network, images)
            first, again = (perturb_images(attack, network, images, labels, seed=0) for _ in range(2))
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
    perturb_images(attack, network, images, labels, seed=3)
    assert same(state(network), before)
    assert torch.equal(torch.get_rng_state(), of_torch)
    assert np.array_equal(np.random.get_state()[1], of_numpy)


@pytest.mark.parametrize("attack", [attack for attack in EVERY if attack.name != "noise"], ids=NAMES[:-1])
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
        perturb_images(attack, network, images, labels, seed=0)
    assert same(state(network), before)
    assert torch.equal(torch.get_rng_state(), of_torch)


@pytest.mark.parametrize("attack", EVERY, ids=NAMES)
def test_a_seed_decides_what_is_drawn(attack):
    network, images = Network(), images_of(1)
    labels = labels_of(network, images)
    one, again = (perturb_images(attack, network, images, labels, seed=0) for _ in range(2))
    assert torch.equal(one, again)
    other = perturb_images(attack, network, images, labels, seed=1)
    drawn = attack.name in ("pgd", "noise") and attack.threat is Threat.LINF
    assert not (drawn and torch.equal(one, other))


@pytest.mark.parametrize(
    "attack", [each for each in EVERY if each.name in ("pgd", "bim", "mifgsm") and each.threat is Threat.LINF]
)
def test_its_steps_reach_the_edge_from_wherever_it_began(attack):
    """2.5 epsilon in all (Madry 2018): along a constant gradient every pixel ends epsilon away, on the side that is worse."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].weight[3], network[1].weight[7] = 0.01, -0.01
    images, labels = torch.full((4, 1, 8, 8), 0.5), torch.full((4,), 3)
    found = perturb_images(attack, network, images, labels, seed=0)
    torch.testing.assert_close(found, images - attack.epsilon)


# One trap each


def test_a_zero_gradient_gives_the_clean_image_and_is_counted():
    class Flat(nn.Module):
        def forward(self, images):
            return (images.mean(dim=(1, 2, 3)).round() * 0)[:, None] + torch.tensor([1.0, 0.0, 0.0])

    images = images_of(1)
    labels = torch.zeros(len(images), dtype=torch.int64)
    found = attack_images(Attack("deepfool", Threat.L2), Flat(), images, labels, seed=0)
    assert found.invalid.all()
    assert torch.equal(found.images, images)
    for loss in ("cross-entropy", "dlr", "margin"):
        assert has_zero_gradient(Flat(), images, labels, loss).all()
        found = attack_images(Attack("pgd", epsilon=0.1, loss=loss), Flat(), images, labels, seed=0)
        assert not found.invalid.any()  # the random start


def test_a_network_without_any_gradient_is_attacked_all_the_same():
    class Detached(Network):
        def forward(self, images):
            return super().forward(images.detach())

    network, images = Detached(), images_of(1)
    labels = labels_of(network, images)
    for attack in EVERY:
        perturb_images(attack, network, images, labels, seed=0)
    assert has_zero_gradient(network, images, labels, "cross-entropy").all()


@pytest.mark.parametrize("loss", ["cross-entropy", "dlr", "margin"])
def test_the_gradient_of_an_honest_network_is_not_zero(honest, digits, loss):
    right = labels_of(honest, digits.images) == digits.labels
    assert not has_zero_gradient(honest, digits.images[right], digits.labels[right], loss).any()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_each_image_has_its_own_answer_of_whether_its_gradient_is_zero(count):
    class HalfFlat(Network):
        def forward(self, images):
            return super().forward(images) * (images.mean(dim=(1, 2, 3), keepdim=True).flatten(1) > 0.5)

    bright, dark = torch.full((1, 1, 8, 8), 0.75), torch.full((1, 1, 8, 8), 0.25)
    images = torch.cat([bright, dark])[:count]
    zero = has_zero_gradient(HalfFlat(), images, torch.zeros(count, dtype=torch.int64), "margin")
    assert zero.tolist() == [False, True][:count]


def test_a_network_without_parameters_is_attacked_in_silence(capsys):
    images = images_of(1)
    labels = labels_of(nn.Flatten(), images)
    perturb_images(Attack("fgsm", epsilon=0.1), nn.Flatten(), images, labels, seed=0)
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
    found = attack_images(attack, Small(room=16), *digits, seed=0, batch=60)
    assert torch.equal(found.images, attack_images(attack, honest, *digits, seed=0, batch=15).images)
    with pytest.raises(torch.OutOfMemoryError):
        attack_images(attack, Small(room=0), *digits, seed=0)


def test_no_images_are_no_attack(honest):
    found = attack_images(Attack("fgsm", epsilon=0.1), honest, torch.zeros(0, 1, 8, 8), torch.zeros(0).long(), seed=0)
    assert found.images.shape == (0, 1, 8, 8)
    assert found.invalid.shape == (0,)


# What cannot be done


@pytest.mark.parametrize(
    ("attack", "classes", "part"),
    [
        (Attack("pgd", epsilon=0.1, loss="dlr"), 2, "dlr"),
        (Attack("apgd", epsilon=0.1, loss="dlr"), 2, "dlr"),
        (Attack("apgd-t", epsilon=0.1), 3, "apgd-t"),
    ],
)
def test_too_few_classes(attack, classes, part):
    with pytest.raises(ArgumentError) as caught:
        perturb_images(attack, Network(classes=classes), images_of(1), torch.zeros(6).long(), seed=0)
    assert (caught.value.argument, caught.value.value) == (part, classes)
    assert str(classes + 1) in caught.value.expected.split()


@pytest.mark.parametrize(
    ("images", "labels", "argument", "value"),
    [
        (images_of(1) * 255, torch.zeros(6).long(), "images", "0 to 255"),
        (images_of(1) * torch.nan, torch.zeros(6).long(), "images", "nan to nan"),
        (images_of(1)[0], torch.zeros(1).long(), "images", ([1, 8, 8], torch.float32)),
        (images_of(1), torch.zeros(6, 2).long(), "labels", ([6, 2], torch.int64)),
        (images_of(1), torch.full((6,), 10), "labels", "10 to 10"),
    ],
)
def test_images_and_labels_that_are_none(images, labels, argument, value):
    with pytest.raises(ArgumentError) as caught:
        perturb_images(Attack("fgsm", epsilon=0.1), Network(), images, labels, seed=0)
    assert (caught.value.argument, caught.value.value) == (argument, value)


@pytest.mark.parametrize(
    ("settings", "argument", "value"),
    [
        (dict(name="autoattack", epsilon=0.1), "name", "autoattack"),
        (dict(name="fgsm", threat=Threat.L2, epsilon=0.1), "threat of fgsm", Threat.L2),
        (dict(name="pgd", threat=Threat.L2, epsilon=0.1, loss="dlr"), "loss of pgd under L2", "dlr"),
        (dict(name="fgsm"), "epsilon of fgsm", 0.0),
        (dict(name="cw", threat=Threat.L2, epsilon=1.0), "epsilon of cw", 1.0),
        (dict(name="one-pixel", threat=Threat.L0, epsilon=0.5), "epsilon of one-pixel", 0.5),
    ],
)
def test_settings_that_no_attack_has(settings, argument, value):
    with pytest.raises(ArgumentError) as caught:
        Attack(**settings)
    assert (caught.value.argument, caught.value.value) == (argument, value)


def test_torchattacks_may_be_missing(monkeypatch, honest, digits):
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: None)
    assert "capsbench[attacks]" in library.explain_missing()
    with pytest.raises(UsageError) as caught:
        perturb_images(Attack("fgsm", epsilon=0.1), honest, *digits, seed=0)
    assert (caught.value.kind, caught.value.problem) == (Kind.MISSING, library.explain_missing())


def test_torchattacks_without_its_dependencies_is_checked(monkeypatch):
    assert library.explain_missing() is None
    find = library.importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(library.importlib.util, "find_spec", lambda name: None if name == "tqdm" else find(name))
        assert "pip install tqdm" in library.explain_missing()
    monkeypatch.setattr(library, "version", lambda name: "3.5.0")
    assert "3.5.0" in library.explain_missing()


@pytest.mark.slow
def test_torchattacks_never_imports_requests():
    code = "import sys, torchattacks; sys.exit('requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code]).returncode == 0


@pytest.mark.slow
def test_torchattacks_is_not_imported_before_an_attack_is_made():
    code = "import sys, capsbench.measures.adversarial.measure; sys.exit('torchattacks' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
