import sys

import pytest
import torch
from torch import nn

import capsbench
from capsbench.data.images import ImageShape
from capsbench.errors import Kind, UsageError
from capsbench.networks.build import build_network, parameter_count
from capsbench.networks.factory import Factory
from capsbench.planning.options import read_options

OWN = '''
from torch import nn


def make_net(image, classes, *, width=8):
    """A convolution."""
    body = nn.Conv2d(image.channels, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*body, nn.Linear(width, classes))


class Net(nn.Module):
    def __init__(self, num_classes=1000, width=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, num_classes))

    def forward(self, images):
        return self.layers(images)


def make_number(num_classes):
    return 3


def act(command):
    open("acted", "w").close()
'''


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module of the user's in the folder they work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_nets.py").write_text(OWN)
    yield
    sys.modules.pop("own_nets", None)


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    ("name", "option", "parameters"),
    [("own_nets:make_net", 8, 8 * 9 + 8 + 90), ("own_nets:Net", 4, 64 * 4 + 4 + 50)],
)
def test_a_function_and_a_class_without_sizes_are_baselines(name, option, parameters):
    _, cell = capsbench.cells(routing="dynamic", iters=1, seeds=0, baseline=name)
    assert cell.options == {"network.width": option}
    assert parameter_count(cell) == parameters
    assert build_network(cell)(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    assert cell.code.keys() == {"network"}


@pytest.mark.usefixtures("own_module")
def test_it_is_a_network_of_its_own_too_and_its_options_are_axes():
    cells = capsbench.cells(network="own_nets:make_net", width=[2, 3], seeds=0)
    assert [cell.options for cell in cells] == [{"network.width": 2}, {"network.width": 3}]
    assert {cell.loss for cell in cells} == {"cross-entropy"}


@pytest.mark.usefixtures("own_module")
def test_what_is_no_network_is_refused_by_its_flag():
    with pytest.raises(UsageError) as caught:
        capsbench.cells(routing="dynamic", seeds=0, baseline="own_nets:make_number")
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "baseline")
    assert caught.value.value == "own_nets:make_number"


@pytest.mark.usefixtures("own_module")
def test_a_function_with_other_arguments_is_never_called(tmp_path):
    with pytest.raises(UsageError) as caught:
        capsbench.cells(routing="dynamic", seeds=0, baseline="own_nets:act")
    assert (caught.value.kind, caught.value.flag) == (Kind.INVALID, "baseline")
    assert not (tmp_path / "acted").exists()


def test_the_same_network_at_every_size_and_no_options_of_the_task():
    def make(image, classes, depth=2, num=None):
        return nn.Identity()

    factory = Factory(make)
    assert read_options(factory) == {"depth": 2}
    assert factory.sizes(ImageShape(1, 8, 8)) == {"tiny": {}, "small": {}, "paper": {}}


def test_a_network_that_reads_a_tensor_is_made_on_the_cpu_and_has_shapes_alone():
    def make(num_classes):
        layer = nn.Linear(3, num_classes)
        float(layer.weight.sum())
        return layer

    torch.manual_seed(0)
    state = torch.get_rng_state()
    with torch.device("meta"):
        assert Factory(make)(ImageShape(1, 8, 8), 5).weight.is_meta
    assert torch.equal(torch.get_rng_state(), state)
