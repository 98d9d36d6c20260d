"""Every network with every routing, as a cell asks for them."""

import pytest
import torch

from capsbench.data.images import Batch
from capsbench.networks.build import LayerRouting, build_network, parameter_count
from capsbench.routing import EMRouting
from capsbench.training.step import TrainingStep

NETWORKS = ["capsnet", "matrix-capsules"]
ROUTINGS = ["dynamic", "em", "uniform"]


def batch(size=6, classes=10):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(size, 1, 8, 8, generator=generator), torch.arange(size) % classes


@pytest.mark.parametrize("reconstruction", [True, False])
@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_training_step_gives_every_parameter_a_finite_gradient(make_cell, network, routing, reconstruction):
    cell = make_cell(network=network, routing=routing, iters=2, reconstruction=reconstruction)
    torch.manual_seed(0)
    built = build_network(cell)
    TrainingStep(cell, built)(Batch(*batch()), 0.5)
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if "bias" not in name:
            assert parameter.grad.any(), name


@pytest.mark.parametrize("size", ["tiny", "small"])
@pytest.mark.parametrize("dataset", ["digits", "mnist"])
@pytest.mark.parametrize("network", NETWORKS)
def test_scores_are_activations_of_the_classes(make_cell, network, dataset, size):
    cell = make_cell(network=network, routing=None, dataset=dataset, size=size)
    side = 8 if dataset == "digits" else 28
    with torch.no_grad():
        scores = build_network(cell)(torch.rand(2, 1, side, side))
    assert scores.shape == (2, 10)
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_every_layer_gets_the_routing_options_of_the_cell(make_cell):
    cell = make_cell(routing="em", iters=3, variance_epsilon=0.25)
    factory = LayerRouting(EMRouting, cell)
    assert factory.separate_activations
    layers = [module for module in build_network(cell).modules() if isinstance(module, EMRouting)]
    assert len(layers) == 3
    for layer in layers:
        assert (layer.iterations, layer.variance_epsilon, layer.annealing) == (3, 0.25, 0.1)


def test_a_cnn_is_built_without_a_routing(make_cell):
    cell = make_cell(network="cnn-hinton2018")
    with torch.no_grad():
        assert build_network(cell)(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_double_precision_reaches_parameters_and_coordinates(make_cell):
    built = build_network(make_cell(routing="em", precision="float64"))
    assert {tensor.dtype for tensor in [*built.parameters(), built.classes.offset]} == {torch.float64}


def test_parameters_are_counted_without_making_them(make_cell):
    cell = make_cell(routing="em", reconstruction=True)
    assert parameter_count(cell) == sum(parameter.numel() for parameter in build_network(cell).parameters())
