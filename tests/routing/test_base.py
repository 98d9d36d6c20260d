"""What a user's own routing gets by subclassing `Routing`."""

import pytest
import torch

from capsbench.errors import ArgumentError
from capsbench.networks.build import build_network
from capsbench.registry import BUILT_IN, get
from capsbench.routing import Routing
from capsbench.routing.base import LayerShape, preset_transforms
from capsbench_kernels import BACKENDS, Parents
from tests.routing.declared import FLAGS, draw_all_from, read_defaults

MY_ROUTING = '''
import torch

from capsbench.routing import Routing
from capsbench_kernels import Parents, squash


class NearestMean(Routing):
    """Children move to the parents whose mean vote is nearest."""

    def __init__(self, children, parents, *, iterations=2, backend="auto", sharpness=1.0):
        super().__init__(children, parents, iterations=iterations, backend=backend)
        self.sharpness = sharpness

    def forward(self, poses, weights, activations, offset=None):
        belief = Parents()
        for _ in range(self.iterations):
            mass, first, _ = self.vote_pass(poses, weights, belief, activations, offset)
            mean = first / mass.clamp_min(1e-9).unsqueeze(2)
            belief = Parents(mean=mean, precision=torch.full_like(mean, self.sharpness))
        outputs = squash(mean)
        return outputs.unflatten(-1, (poses.shape[2], weights.shape[3])), torch.linalg.vector_norm(outputs, dim=2)
'''


@pytest.fixture
def my_routing(tmp_path, monkeypatch):
    """The import path of a user's own routing."""
    (tmp_path / "nearest_mean.py").write_text(MY_ROUTING)
    monkeypatch.syspath_prepend(tmp_path)
    return "nearest_mean:NearestMean"


@pytest.mark.parametrize("network", ["capsnet", "matrix-capsules"])
def test_a_users_routing_runs_in_every_network(make_cell, my_routing, network):
    torch.manual_seed(0)
    built = build_network(make_cell(network=network, routing=my_routing, iters=3, sharpness=0.5))
    scores = built(torch.rand(2, 1, 8, 8))
    assert scores.shape == (2, 10)
    assert built.classes.routing.iterations == 3
    assert built.classes.routing.sharpness == 0.5
    scores.sum().backward()
    assert built.classes.weights.grad.isfinite().all()
    assert built.classes.weights.grad.any()


def test_a_users_routing_runs_in_the_network_it_names(make_cell, my_routing):
    assert make_cell(routing=my_routing).network == Routing.network == "capsnet"


def test_a_routing_without_forward_is_refused():
    class Unfinished(Routing):
        pass

    with pytest.raises(TypeError, match="forward"):
        Unfinished(4, 2)


def test_an_unknown_backend_is_refused_in_one_line():
    class Mean(Routing):
        def forward(self, poses, weights, activations, offset=None):
            return self.vote_pass(poses, weights, Parents(), activations, offset)

    with pytest.raises(ArgumentError) as caught:
        Mean(4, 2, backend="abacus")
    assert (caught.value.argument, caught.value.value) == ("backend", "abacus")
    assert all(backend in caught.value.expected for backend in ("auto", *BACKENDS))


@pytest.mark.parametrize("name", BUILT_IN["routing"])
def test_every_routing_gives_shapes_where_there_are_no_values(name):
    routing = get("routing", name)(6, 3, iterations=2)
    routing.prepare(LayerShape(6, 4, 4, 4, classes=True))
    shapes = (2, 6, 4, 4), (6, 3, 4, 4), (2, 6)
    poses, activations = routing.to("meta")(*(torch.empty(shape, device="meta") for shape in shapes))
    assert (poses.shape, activations.shape) == ((2, 3, 4, 4), (2, 3))


def test_a_routing_that_declares_nothing():
    flags = {name: getattr(Routing, name) for name in FLAGS}
    assert flags == {
        "network": "capsnet",
        "separate_activations": False,
        "across_windows": False,
        "iterative": True,
        "activations_need_votes": True,
        "continues": False,
    }
    assert Routing.presets == {}
    assert read_defaults(Routing) == {"iterations": 3, "backend": "auto"}
    assert preset_transforms(0.25) == draw_all_from(0.25)


class Noting(Routing):
    """Notes what `forward` is called with, and gives one parent for all."""

    def forward(self, poses, weights, activations, offset=None, **extra):
        self.called = [poses, weights, activations, offset]
        return self.called[0], self.called[2]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_capsules_are_routed_in_float32_or_wider(dtype):
    routing, inputs = Noting(2, 3), [torch.ones(2, dtype=dtype) for _ in range(4)]
    routing(*inputs)
    assert {tensor.dtype for tensor in routing.called} == {torch.float32}
    routing(*inputs[:3])
    assert routing.called[3] is None
    wide, _ = routing(*(tensor.double() for tensor in inputs))
    assert wide.dtype == torch.float64
    assert (routing.child_count, routing.parent_count) == (2, 3)
