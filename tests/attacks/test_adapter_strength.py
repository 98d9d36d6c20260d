"""How strong attacks are: as closed forms have it, as another library has it, and where torchattacks would miss."""

import copy
import importlib
import warnings

import pytest
import torch
from torch import nn

from capsbench.attacks.adapter import ATTACKS, Attack, perturb_images
from capsbench.attacks.threats import Threat
from tests.attacks.cases import accuracy, labels_of


@pytest.fixture(scope="module")
def foolbox():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of SciPy, on what foolbox imports
        return importlib.import_module("foolbox")


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
        found = perturb_images(Attack("pgd", threat, epsilon, loss, step=epsilon / 4), network, images, labels, seed=0)
        assert accuracy(network, found, labels) == exact


@pytest.mark.parametrize(("threat", "epsilon", "dual"), [(Threat.LINF, 0.01, 1), (Threat.L2, 0.04, 2)])
def test_targeted_apgd_finds_it_among_five_classes(threat, epsilon, dual):
    network, images, labels = linear_problem(classes=5)
    exact = exact_robust_accuracy(network, images, labels, epsilon, dual)
    assert 0.2 < exact < 0.8
    found = perturb_images(Attack("apgd-t", threat, epsilon, steps=40), network, images, labels, seed=0)
    assert accuracy(network, found, labels) == exact


def test_the_nearest_adversarial_image_of_a_linear_classifier_lies_across_the_hyperplane():
    network, images, labels = linear_problem(classes=2, count=8)
    logits, difference = network(images).detach(), (network[1].weight[0] - network[1].weight[1]).detach()
    nearest = (logits[:, 0] - logits[:, 1]).abs() / torch.linalg.vector_norm(difference)
    found = perturb_images(Attack("deepfool", Threat.L2), network, images, labels, seed=0)
    torch.testing.assert_close(Threat.L2.measure_distance(found, images), 1.02 * nearest)  # its overshoot
    cw = Attack("cw", Threat.L2, steps=200, constants=(0.01, 0.1, 1.0))
    found = perturb_images(cw, network, images, labels, seed=0)
    ratio = Threat.L2.measure_distance(found, images) / nearest
    assert accuracy(network, found, labels) == 0
    assert (ratio > 1).all()
    assert ratio.median() < 1.1


def test_fgsm_and_bim_give_the_images_of_foolbox(foolbox, honest, digits):
    theirs = foolbox.PyTorchModel(honest, bounds=(0, 1), device="cpu")
    one_step = foolbox.attacks.LinfFastGradientAttack(random_start=False)
    steps = foolbox.attacks.LinfProjectedGradientDescentAttack(abs_stepsize=0.02, steps=10, random_start=False)
    for epsilon in (0.05, 0.1):
        expected = one_step.run(theirs, *digits, epsilon=epsilon)
        found = perturb_images(Attack("fgsm", epsilon=epsilon), honest, *digits, seed=0)
        torch.testing.assert_close(found, expected)
        expected = steps.run(theirs, *digits, epsilon=epsilon)
        found = perturb_images(Attack("bim", epsilon=epsilon, steps=10, step=0.02), honest, *digits, seed=0)
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
        found = perturb_images(Attack("pgd", threat, epsilon, step=epsilon / 10), honest, *digits, seed=0)
        assert 0 < expected < accuracy(honest, *digits)
        assert accuracy(honest, found, digits.labels) == pytest.approx(expected, abs=1.01 / len(digits.labels))


def test_deepfool_crosses_the_border_where_pixels_are_clipped(honest, digits):
    """Most pixels of a digit are at 0, where half of what a step would move them by is clipped."""
    right = labels_of(honest, digits.images) == digits.labels
    images, labels = digits.images[right][:20], digits.labels[right][:20]
    found = perturb_images(Attack("deepfool", Threat.L2, steps=50), honest, images, labels, seed=0)
    assert accuracy(honest, found, labels) == 0
    cw = Attack("cw", Threat.L2, steps=300, constants=(1.0, 10.0))
    nearest = Threat.L2.measure_distance(perturb_images(cw, honest, images, labels, seed=0), images)
    assert Threat.L2.measure_distance(found, images).mean() < 1.5 * nearest.mean()


def test_cw_moves_pixels_that_are_exactly_0_or_1(honest, digits):
    images = digits.images[:3].round()  # all of them
    labels = labels_of(honest, images)
    found = perturb_images(Attack("cw", Threat.L2, steps=600, constants=(10.0,)), honest, images, labels, seed=0)
    assert accuracy(honest, found, labels) < 0.1


@pytest.mark.parametrize(
    "attack", [Attack("cw", Threat.L2, steps=50), Attack("pgd", epsilon=0.1, loss="margin")], ids=["cw", "margin"]
)
def test_negative_logits_are_attacked_as_well_as_positive_ones(honest, digits, attack):
    shifted = nn.Sequential(honest, nn.LogSoftmax(dim=1))
    images = digits.images[:20]
    labels = labels_of(honest, images)
    shares = [
        accuracy(honest, perturb_images(attack, each, images, labels, seed=0), labels) for each in (honest, shifted)
    ]
    assert shares[0] < 0.9
    assert shares[1] == pytest.approx(shares[0], abs=0.051)


def test_restarts_never_break_less(honest, digits):
    def broken(restarts):
        attack = Attack("noise", epsilon=0.3, restarts=restarts)
        return labels_of(honest, perturb_images(attack, honest, *digits, seed=0)) != digits.labels

    once, thrice = broken(1), broken(3)
    assert (thrice | ~once).all()
    assert thrice.sum() > once.sum()


def test_cw_does_not_depend_on_batch_mates(honest, digits):
    """A batch is not given up as a whole, as torchattacks does where the sum of its costs has grown."""
    network, images, labels = copy.deepcopy(honest).double(), digits.images[:4].double(), digits.labels[:4]
    attack = Attack("cw", Threat.L2, steps=200, constants=(10.0,))
    together = perturb_images(attack, network, images, labels, seed=0)
    alone = [perturb_images(attack, network, images[i : i + 1], labels[i : i + 1], seed=0) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_the_nearest_of_several_constants_is_kept(honest, digits):
    images, labels = digits.images[:5], digits.labels[:5]

    def distances(*constants):
        found = perturb_images(Attack("cw", Threat.L2, steps=50, constants=constants), honest, images, labels, seed=0)
        fooled = labels_of(honest, found) != labels
        return Threat.L2.measure_distance(found, images).where(fooled, torch.inf)

    alone = torch.stack([distances(constant) for constant in (1.0, 10.0)])
    assert torch.equal(distances(1.0, 10.0), alone.amin(dim=0))
