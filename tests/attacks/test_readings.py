"""Readings against their formulas, and against what the network predicts."""

import math

import pytest
import torch
from torch import nn

from capsbench.attacks.readings import Pixels, Reading, list_readings
from capsbench.errors import ArgumentError


class Scores(nn.Module):
    """Gives the same activations whatever the image, as a parameter, so that their gradient can be asked for."""

    def __init__(self, activations):
        super().__init__()
        self.activations = nn.Parameter(torch.as_tensor(activations))

    def forward(self, images):
        return self.activations.expand(len(images), -1)


ONE = torch.zeros(1, 1, 2, 2)


def test_a_capsule_network_is_read_in_four_ways_and_a_cnn_in_one(make_cell):
    assert list_readings(make_cell()) == ("lengths", "share", "logit", "scaled")
    assert list_readings(make_cell(network="resnet")) == ("logits",)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lengths", [0.9, 0.3, 0.05]),
        ("share", [-0.32850407, -1.42711636, -3.21887582]),  # log(a / 1.25)
        ("logit", [2.19722458, -0.84729786, -2.94443898]),  # log(a / (1 - a))
        ("scaled", [18.0, 6.0, 1.0]),
        ("logits", [0.9, 0.3, 0.05]),
    ],
)
def test_each_reading_is_its_formula(name, expected):
    logits = Reading(Scores([0.9, 0.3, 0.05]), name)(ONE)
    torch.testing.assert_close(logits, torch.tensor([expected]))


def test_activations_of_exactly_0_and_1_are_read_as_if_they_were_1e_12_within():
    edges = Scores(torch.tensor([0.0, 1.0], dtype=torch.float64))
    shares, logits = Reading(edges, "share")(ONE), Reading(edges, "logit")(ONE)
    least = 12 * math.log(10)
    torch.testing.assert_close(shares, torch.tensor([[-least, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(logits, torch.tensor([[-least, least]], dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["lengths", "share", "logit", "scaled"])
def test_activations_of_exactly_0_and_1_have_finite_logits_and_gradients(name, dtype):
    network = Scores(torch.tensor([0.0, 1.0, 1e-30, 0.5], dtype=dtype))
    logits = Reading(network, name)(ONE)
    (logits[0, 1] - logits[0, 0] + logits[0, 2]).backward()
    assert logits.isfinite().all()
    assert network.activations.grad.isfinite().all()
    assert logits.argmax() == 1


def test_every_reading_predicts_what_the_network_predicts():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Sigmoid())
    images = 5 * torch.randn(50, 1, 8, 8)
    predictions = network(images).argmax(dim=1)
    assert len(predictions.unique()) > 3
    for name in ("lengths", "share", "logit", "scaled"):
        assert torch.equal(Reading(network, name)(images).argmax(dim=1), predictions)


def test_half_precision_is_read_in_float32():
    assert Reading(Scores(torch.tensor([0.5, 0.25], dtype=torch.bfloat16)), "share")(ONE).dtype == torch.float32


def test_an_unknown_reading_is_refused():
    with pytest.raises(ArgumentError) as caught:
        Reading(nn.Flatten(), "log")
    assert (caught.value.argument, caught.value.value) == ("name", "log")


def test_standardised_images_are_attacked_as_if_their_range_were_0_to_1():
    images = torch.tensor([-2.0, 0.0, 3.0, 1.0]).view(1, 1, 2, 2)
    pixels = Pixels.from_images(images, standardised=True)
    assert pixels == (-2, 3)
    unit = pixels.to_unit(images)
    torch.testing.assert_close(unit.flatten(), torch.tensor([0, 0.4, 1, 0.6]))
    beyond = torch.tensor([-3.0, 4.0]).view(2, 1, 1, 1)
    assert pixels.to_unit(beyond).flatten().tolist() == [0, 1]
    torch.testing.assert_close(Reading(nn.Flatten(), "logits", pixels)(unit), images.flatten(1))


def test_images_in_0_to_1_are_left_as_they_are():
    images = torch.tensor([0.2, 0.3, 0.7, 0.1]).view(1, 1, 2, 2)
    pixels = Pixels.from_images(images, standardised=False)
    assert pixels.to_unit(images) is images
    assert pixels.from_unit(images) is images
    assert pixels == Pixels() == (0, 1)
