"""The cost measure: against arithmetic by hand, and on its own, without weights."""

import pytest
import torch
from torch import nn

from capsbench.measures.cost.measure import Cost, count_inference
from capsbench.measures.cost.spec import SPEC
from capsbench.networks.build import build_network

IMAGES, LABELS = torch.rand(4, 1, 8, 8), torch.arange(4)


@pytest.fixture
def measured(subject):
    """The values of the cost measure, by metric and condition."""

    def values(cell, network):
        return {(row.metric, row.condition): row.value for row in Cost()(subject(cell, network, IMAGES, LABELS))}

    return values


def test_a_convolution_and_a_linear_layer():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 5))
    assert count_inference(network, (2, 5, 5)).algorithm == 2 * 27 * 18 + 27 + 2 * 27 * 5


@pytest.mark.parametrize("iterations", [1, 3])
def test_capsnet_is_its_convolutions_and_procedure_1(make_cell, measured, iterations):
    """8x8 images: 32 channels of 6x6, then 4 types of 8 values on 2x2, then 10 classes of 16 values."""
    cell = make_cell(iters=iterations)
    convolutions = 2 * 9 * 32 * 6 * 6 + 2 * 9 * 32 * 32 * 2 * 2
    logits = 16 * 10
    routing = logits * (2 * 8 * 16 + iterations * (5 + 2 * 16) + (iterations - 1) * 2 * 16)
    values = measured(cell, build_network(cell))
    # Activations, squashes and lengths are the rest.
    assert convolutions + routing < values["flops", "inference"] < 1.03 * (convolutions + routing)
    recomputed = (iterations - 1) * 2 * 8 * 16 * logits + iterations * (3 * 16 + 1) * logits
    assert values["executed flops", "inference"] == values["flops", "inference"] + recomputed


def test_every_routing_layer_is_counted(make_cell, measured):
    """Matrix capsules on 8x8 images: 2.24M for 3 iterations without the elements outside the passes."""
    cell = make_cell(routing="em", iters=3)
    convolutions = 2 * 9 * 32 * 6 * 6 + 2 * 32 * (4 * 16) * 6 * 6
    layers = [(4 * 4, 9 * 4, 4), (2 * 2, 9 * 4, 8), (1, 2 * 2 * 8, 10)]  # positions, children, parents
    logits = sum(positions * children * parents for positions, children, parents in layers)
    votes, sums, gaussians, softmaxes = 2 * 4, 3 * (2 + 3), 2 * (4 + 1), 3 * 6
    offset = 16 * 32 * 10
    expected = convolutions + offset + logits * (16 * (votes + sums + gaussians) + softmaxes)
    assert expected == 2_235_008
    assert expected < measured(cell, build_network(cell))["flops", "inference"] < 1.15 * expected


def test_parameters_with_and_without_the_decoder(make_cell, measured):
    cell = make_cell()
    network = build_network(cell)
    decoder = 160 * 64 + 64 + 64 * 128 + 128 + 128 * 64 + 64
    values = measured(cell, network)
    everything = sum(parameter.numel() for parameter in network.parameters())
    assert values["parameters", "trained"] == everything
    assert values["parameters", "inference"] == everything - decoder


@pytest.mark.parametrize(
    "asked", [dict(routing="em"), dict(routing="variational-bayes"), dict(network="cnn-sabour2017")]
)
def test_the_numbers_depend_on_neither_weights_nor_mode_and_leave_the_network_as_it_was(make_cell, measured, asked):
    cell = make_cell(**asked)
    torch.manual_seed(0)
    first, second = build_network(cell), build_network(cell)
    before = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    values = measured(cell, first.train())
    assert values == measured(cell, second.eval())
    assert first.training
    assert not second.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in first.state_dict().items())
    assert {metric for metric, _ in values} == {metric.name for metric in SPEC.metrics}
