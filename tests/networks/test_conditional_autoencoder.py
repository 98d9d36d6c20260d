"""The control without capsules: the size of what it stands beside, and that it sees the transform."""

import pytest
import torch

from capsbench.data.images import ImageShape
from capsbench.networks.conditional_autoencoder import ConditionalAutoencoder
from capsbench.networks.transforming_autoencoder import TransformingAutoencoder


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("image", [ImageShape(1, 8, 8), ImageShape(1, 28, 28), ImageShape(3, 32, 24)])
@pytest.mark.parametrize("size", ["tiny", "small", "paper", "paper-affine"])
@pytest.mark.parametrize("more", [{}, {"transform": "affine"}, {"generation": 5}])
def test_it_has_the_parameters_of_the_transforming_autoencoder_of_the_same_options(image, size, more):
    options = {**TransformingAutoencoder.sizes(image)[size], **more}
    assert ConditionalAutoencoder.sizes(image) == TransformingAutoencoder.sizes(image)
    with torch.device("meta"):
        control = ConditionalAutoencoder(image, 10, **options)
        capsules = TransformingAutoencoder(image, 10, **options)
    assert abs(count(control) / count(capsules) - 1) < 0.02


@pytest.mark.parametrize(("transform", "numbers"), [("shift", 2), ("affine", 9)])
@pytest.mark.parametrize("pixels", ["linear", "logistic"])
def test_it_is_a_perceptron_of_the_image_and_the_transform(transform, numbers, pixels):
    torch.manual_seed(0)
    network = ConditionalAutoencoder(ImageShape(2, 5, 4), 10, capsules=2, transform=transform, pixels=pixels).double()
    images = torch.rand(3, 2, 5, 4, dtype=torch.double)
    shape = (2,) if transform == "shift" else (3, 3)
    transforms = torch.randn(3, *shape, dtype=torch.double)
    (w1, b1), (w2, b2), (w3, b3) = [
        (layer.weight, layer.bias) for layer in network.modules() if isinstance(layer, torch.nn.Linear)
    ]
    for i in range(3):
        hidden = torch.sigmoid(w1 @ images[i].flatten() + b1)
        seen = torch.cat([hidden, transforms[i].flatten()])
        assert w2.shape == (len(hidden), len(hidden) + numbers)
        made = w3 @ torch.sigmoid(w2 @ seen + b2) + b3
        made = torch.sigmoid(made) if pixels == "logistic" else made
        torch.testing.assert_close(network(images, transforms)[i].flatten(), made)


def test_without_a_transform_it_gets_the_one_that_changes_nothing():
    network = ConditionalAutoencoder(ImageShape(1, 4, 4), 10, capsules=2, transform="affine")
    images = torch.rand(3, 1, 4, 4)
    assert torch.equal(network(images), network(images, torch.eye(3).expand(3, 3, 3)))
