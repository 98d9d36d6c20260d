"""The reconstructive attack against its steps written out for a network whose gradients are known."""

import pytest
import torch
from torch import nn

from capsbench.attacks.reconstructive import attack_reconstruction, reconstruct_images
from capsbench.networks.base import CapsuleNetwork
from capsbench.networks.build import build_network
from capsbench.networks.layers import Capsules

TEMPLATES = torch.rand(2, 1, 3, 3, dtype=torch.double, generator=torch.Generator().manual_seed(5))


class Templates(nn.Module):
    """Makes one and the same image of whatever a class is given."""

    def forward(self, poses, labels):
        return TEMPLATES[labels]


class Brightness(CapsuleNetwork):
    """Class 1 of images that are brighter than one half on average."""

    def __init__(self):
        super().__init__()
        self.decoder = Templates()

    def capsules(self, images):
        bright = images.mean(dim=(1, 2, 3))
        activations = torch.stack([1 - bright, bright], dim=1)
        return Capsules(activations[:, :, None, None], activations)


@pytest.fixture
def images():
    return 0.3 + 0.4 * torch.rand(12, 1, 3, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def labels(images):
    return (images.mean(dim=(1, 2, 3)) > 0.5).long()


def test_the_winning_capsule_is_reconstructed(images, labels):
    made = reconstruct_images(Brightness(), images)
    assert torch.equal(made.images, TEMPLATES[labels])
    expected = [
        float(((image - TEMPLATES[label]) ** 2).sum()) ** 0.5 for image, label in zip(images, labels, strict=True)
    ]
    assert made.measure_distance(images).tolist() == pytest.approx(expected)
    assert torch.equal(reconstruct_images(Brightness(), images, but=labels).images, TEMPLATES[1 - labels])


@pytest.mark.parametrize("balance", [0.5, 0.8])
def test_it_goes_away_from_the_class_and_towards_the_reconstruction_in_turn(images, labels, balance):
    epsilon, steps, step = 0.03, 6, 0.01
    found = attack_reconstruction(
        Brightness(), images, labels, epsilon=epsilon, steps=steps, step=step, seed=3, balance=balance
    )
    random = 2 * torch.rand(images.shape, generator=torch.Generator().manual_seed(3), dtype=torch.double) - 1
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        at = (image + epsilon * random[i]).clamp(0, 1)
        fooling, on_the_way = [], [at]
        for _ in range(steps):
            away = 1 if label == 0 else -1
            for size, direction in ((2 * balance * step, "away"), (2 * (1 - balance) * step, "towards")):
                moved = at + size * (away if direction == "away" else torch.sign(TEMPLATES[1 - label] - at))
                at = torch.clamp(image + torch.clamp(moved - image, -epsilon, epsilon), 0, 1)
                on_the_way.append(at)
        fooling = [each for each in on_the_way if int(each.mean() > 0.5) != label]
        distances = [float((each - TEMPLATES[1 - label]).norm()) for each in fooling]
        expected = fooling[distances.index(min(distances))] if fooling else at
        torch.testing.assert_close(found[i], expected)
    fooled = (found.mean(dim=(1, 2, 3)) > 0.5).long() != labels
    assert 0 < fooled.sum() < 12


def test_what_is_found_is_within_epsilon_and_the_network_stays(make_cell):
    cell = make_cell(routing="dynamic")
    torch.manual_seed(0)
    network = build_network(cell).eval()
    images = torch.rand(140, 1, 8, 8)  # more than a batch
    labels = network(images).argmax(dim=1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    found = attack_reconstruction(network, images, labels, epsilon=0.1, steps=2, step=0.03, seed=0)
    assert found.shape == images.shape
    assert not found.requires_grad
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert 0.05 < float((found - images).abs().max()) <= 0.1 + 1e-6
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_of_no_images_nothing_is_made(images, labels):
    found = attack_reconstruction(Brightness(), images[:0], labels[:0], epsilon=0.1, steps=2, step=0.03, seed=0)
    assert found.shape == (0, 1, 3, 3)
