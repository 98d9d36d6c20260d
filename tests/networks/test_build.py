"""Every network with every routing, as a cell asks for them."""

import pytest
import torch

from capsbench import registry
from capsbench.data.images import Batch
from capsbench.networks import build
from capsbench.networks.build import LayerRouting, build_network, count_parameters, parameter_count
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


def test_grey_images_are_convolved_with_the_channels_last_whatever_their_strides(make_cell):
    network = build_network(make_cell(network="cnn-hinton2018"))
    (stem, *_) = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    strides = []
    stem.register_forward_hook(lambda layer, inputs, outputs: strides.append((inputs[0].stride(), outputs.stride(1))))
    images, _ = batch()
    network(images)
    network(images.squeeze(1).unsqueeze(3).movedim(3, 1))
    assert strides == [((64, 1, 8, 1), 1)] * 2


def test_a_cnn_is_built_without_a_routing(make_cell):
    cell = make_cell(network="cnn-hinton2018")
    with torch.no_grad():
        assert build_network(cell)(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_double_precision_reaches_parameters_and_coordinates(make_cell):
    built = build_network(make_cell(routing="em", precision="float64"))
    assert {tensor.dtype for tensor in [*built.parameters(), built.classes.offset]} == {torch.float64}


@pytest.mark.parametrize(
    "network", [*registry.BUILT_IN["network"], *sorted(registry.BUILT_IN["baseline"].keys() - {"matched"})]
)
def test_parameters_are_counted_without_making_them(make_cell, network):
    cell = make_cell(network=network, routing=None, size="tiny")
    made, shapes = build_network(cell), build_network(cell, device="meta")
    assert parameter_count(cell) == sum(parameter.numel() for parameter in made.parameters())
    assert all(tensor.is_meta for tensor in shapes.state_dict().values())
    assert [(name, tensor.shape, tensor.dtype) for name, tensor in shapes.state_dict().items()] == [
        (name, tensor.shape, tensor.dtype) for name, tensor in made.state_dict().items()
    ]


def test_the_parameters_of_a_network_are_counted_once_whatever_it_is_trained_with(make_cell, monkeypatch):
    cells = [make_cell(lr=0.1), make_cell(lr=0.2, seeds=1), make_cell(reconstruction=False), make_cell(leaky=True)]
    counts = [count_parameters(build_network(cell)) for cell in cells]
    monkeypatch.setattr(build, "_parameter_counts", {})
    built = []
    monkeypatch.setattr(build, "build_network", lambda cell, device: built.append(cell) or build_network(cell, device))
    assert [parameter_count(cell) for cell in cells] == counts
    assert built == [cells[0], *cells[2:]]
