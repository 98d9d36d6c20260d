"""The transforming auto-encoder against section 2 of Hinton, Krizhevsky and Wang 2011, one capsule after another."""

from pathlib import Path

import pytest
import torch

from capsbench.data.base import load_splits
from capsbench.data.images import Batch, ImageShape
from capsbench.errors import ArgumentError
from capsbench.networks.build import build_network
from capsbench.networks.layers import Capsules
from capsbench.networks.transforming_autoencoder import TransformingAutoencoder
from capsbench.training.loop import train

MNIST = ImageShape(1, 28, 28)
IMAGE = ImageShape(2, 5, 4)


def make(**options):
    torch.manual_seed(0)
    return TransformingAutoencoder(IMAGE, 10, capsules=3, recognition=4, generation=6, **options).double()


def some(transform, count=2):
    """Images and transforms for them."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, *IMAGE, generator=generator).double()
    shape = (2,) if transform == "shift" else (3, 3)
    return images, torch.randint(-3, 4, (count, *shape), generator=generator).double()


def naive(network, image, transform, kind):
    """One image, from the weights, capsule by capsule; also the pose that each capsule's generation units see."""
    weights = {name: value.detach() for name, value in network.named_parameters()}
    recognition, bias = weights["recognition.1.weight"], weights["recognition.1.bias"]
    share, pixel_bias = weights["pixels.0.weight"], weights["pixels.0.bias"]
    total, seen = pixel_bias.clone(), []
    for capsule in range(3):
        own = slice(4 * capsule, 4 * capsule + 4)
        recognised = 1 / (1 + torch.exp(-(recognition[own] @ image.flatten() + bias[own])))
        read = recognised @ weights["instantiation.weights"][capsule] + weights["instantiation.biases"][capsule]
        presence, pose = 1 / (1 + torch.exp(-read[0])), read[1:]
        pose = pose + transform if kind == "shift" else (transform @ pose.reshape(3, 3)).flatten()
        seen.append(pose)
        drawn = pose @ weights["generation.0.weights"][capsule] + weights["generation.0.biases"][capsule]
        own = slice(6 * capsule, 6 * capsule + 6)
        total = total + presence * (share[:, own] @ (1 / (1 + torch.exp(-drawn))))
    return total.reshape(IMAGE), torch.stack(seen)


# The network


@pytest.mark.parametrize("kind", ["shift", "affine"])
@pytest.mark.parametrize("pixels", ["linear", "logistic"])
def test_the_image_is_the_sum_of_what_the_capsules_make_of_their_moved_poses(kind, pixels):
    network = make(transform=kind, pixels=pixels)
    images, transforms = some(kind)
    for made, image, transform in zip(network(images, transforms), images, transforms, strict=True):
        expected, _ = naive(network, image, transform, kind)
        torch.testing.assert_close(made, expected if pixels == "linear" else 1 / (1 + torch.exp(-expected)))


@pytest.mark.parametrize("kind", ["shift", "affine"])
def test_the_generation_units_see_the_pose_as_the_transform_moves_it(kind):
    network = make(transform=kind)
    images, transforms = some(kind)
    seen = []
    network.generation.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(images, transforms)
    for i in range(2):
        torch.testing.assert_close(seen[0][i], naive(network, images[i], transforms[i], kind)[1])


def test_a_further_shift_moves_what_the_generation_units_see_by_just_that():
    network = make()
    images, shifts = some("shift")
    further = torch.tensor([[1.0, -2.0], [0.5, 4.0]], dtype=torch.double)
    seen = []
    network.generation.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for transforms in (torch.zeros_like(shifts), shifts, shifts + further):
        network(images, transforms)
    none, once, twice = seen
    assert torch.equal(once, none + shifts[:, None])
    torch.testing.assert_close(twice - once, further[:, None].expand(2, 3, 2))


@pytest.mark.parametrize("kind", ["shift", "affine"])
def test_without_transforms_nothing_is_moved(kind):
    network = make(transform=kind)
    images, _ = some(kind)
    assert torch.equal(network(images), network.generate_images(network.capsules(images)))


def test_a_capsule_without_its_entity_has_no_effect():
    network = make()
    poses, presence = torch.randn(2, 3, 2, dtype=torch.double), torch.rand(2, 3, dtype=torch.double)
    presence[:, 1] = 0
    elsewhere = poses.clone()
    elsewhere[:, 1] += 5
    assert torch.equal(
        network.generate_images(Capsules(poses, presence)), network.generate_images(Capsules(elsewhere, presence))
    )
    elsewhere[:, 2] += 5
    assert not torch.equal(
        network.generate_images(Capsules(poses, presence)), network.generate_images(Capsules(elsewhere, presence))
    )


def test_presence_is_a_probability():
    network = make()
    presence = network.capsules(100 * torch.randn(50, *IMAGE, dtype=torch.double)).activations
    assert presence.shape == (50, 3)
    assert 0 <= presence.min() < presence.max() <= 1


def test_the_objective_is_the_sum_of_squared_errors_of_an_image():
    network = make()
    images, transforms = some("shift", 3)
    targets = torch.rand_like(images)
    errors = [(network(images, transforms)[i] - targets[i]).pow(2).sum() for i in range(3)]
    loss = network.objective(Batch(images, torch.zeros(3, dtype=torch.int64), targets, transforms))
    torch.testing.assert_close(loss, sum(errors) / 3)


def test_only_the_weights_of_the_poses_begin_larger():
    plain, larger = (make(pose_scale=scale).instantiation for scale in (1.0, 5.0))
    expected = plain.weights.detach().clone()
    expected[:, :, 1:] *= 5
    torch.testing.assert_close(larger.weights.detach(), expected)
    assert torch.equal(larger.biases, plain.biases)
    assert 0.45 < plain.weights.abs().max() <= 0.5  # uniform within 1 / sqrt(4 recognition units)


# Its sizes


def test_the_paper_sizes_have_the_papers_units():
    def count(size):
        with torch.device("meta"):
            network = TransformingAutoencoder(MNIST, 10, **TransformingAutoencoder.sizes(MNIST)[size])
        return sum(parameter.numel() for parameter in network.parameters())

    # 30 capsules, each 784 -> 10 -> p, x, y and x, y -> 20; 30 * 20 units -> 784 pixels
    assert count("paper") == 30 * (785 * 10 + 11 * 3 + 3 * 20) + 601 * 784 == 709_474
    # 25 capsules, each 784 -> 40 -> p and a 3x3 matrix; 9 numbers -> 40; 25 * 40 units -> 784 pixels
    assert count("paper-affine") == 25 * (785 * 40 + 41 * 10 + 10 * 40) + 1001 * 784 == 1_590_034


@pytest.mark.parametrize("image", [ImageShape(1, 8, 8), MNIST, ImageShape(3, 32, 24)])
@pytest.mark.parametrize("size", ["tiny", "small", "paper", "paper-affine"])
def test_every_size_makes_images_of_their_shape(image, size):
    network = TransformingAutoencoder(image, 10, **TransformingAutoencoder.sizes(image)[size])
    assert network(torch.rand(2, *image)).shape == (2, *image)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("transform", "twirl"),
        ("pixels", "square"),
        ("reach", 0),
        ("capsules", 0),
        ("recognition", 0),
        ("generation", -1),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(argument, value):
    with pytest.raises(ArgumentError) as caught:
        TransformingAutoencoder(IMAGE, 10, **{argument: value})
    assert (caught.value.argument, caught.value.value) == (argument, value)
    assert "\n" not in str(caught.value)


# Its training


@pytest.mark.parametrize("kind", ["shift", "affine"])
def test_it_learns_to_transform_digits_and_does_so_again_to_the_last_bit(make_cell, kind):
    cell = make_cell(
        network="transforming-autoencoder", routing=None, transform=kind, train_size=256, epochs=6, batch=16
    )
    digits = load_splits("digits", Path(), train_size=256)
    trained = []
    for _ in range(2):
        torch.manual_seed(cell.seed)
        network = build_network(cell)
        history = train(cell, network, digits)
        trained.append(network)
    validation = [epoch["validation_loss"] for epoch in history]
    assert validation[-1] < 0.75 * validation[0]
    assert "validation_accuracy" not in history[0]
    first, second = (network.state_dict() for network in trained)
    for name in first:
        assert torch.equal(first[name], second[name]), name
