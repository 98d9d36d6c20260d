"""Every network as one graph: it trains as it does without a compiler, and its exported program runs elsewhere."""

import copy

import pytest
import torch

import capsbench
from capsbench import registry
from capsbench.networks.base import is_self_supervised
from capsbench.networks.build import build_network
from capsbench_kernels import decomposition_table

NETWORKS = registry.names("network")
CLASSIFIERS = [name for name in NETWORKS if not is_self_supervised(registry.get("network", name))]


# Torch's own, on outputs of the first pass while it traces a branch.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")


@pytest.fixture(autouse=True)
def forget_graphs():
    """Lets each test compile the same code objects anew."""
    torch.compiler.reset()


def build(**request):
    """Builds a tiny network for images of 8x8 pixels."""
    (cell,) = capsbench.cells(seeds=0, baseline="none", **request)
    torch.manual_seed(0)
    return build_network(cell)


def train(network, run, steps=3):
    """Returns the losses of a few steps, on the same images each time."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.rand(4, 1, 8, 8, generator=generator), torch.tensor([3, 1, 4, 1])
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(10 * run(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def assert_trains_as_eager(network, backend):
    eager = train(copied := copy.deepcopy(network), copied)
    compiled = train(network, torch.compile(network, fullgraph=True, backend=backend))
    assert compiled == pytest.approx(eager, rel=1e-5)
    assert eager[-1] < eager[0] - 0.05


def test_a_full_graph_of_capsnet_trains_as_without_a_compiler():
    assert_trains_as_eager(build(network="capsnet", iters=2), "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_full_graph_of_each_network_trains_as_without_a_compiler(name):
    assert_trains_as_eager(build(network=name), "inductor" if name == "capsnet" else "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("routing", registry.names("routing"))
def test_a_full_graph_of_each_routing_trains_as_without_a_compiler(routing):
    assert_trains_as_eager(build(routing=routing), "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in CLASSIFIERS])
def test_a_full_graph_of_each_self_supervised_network_has_the_images_of_the_eager_one(name):
    network = build(network=name)
    images = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(torch.compile(network, fullgraph=True, backend="aot_eager")(images), network(images))


@pytest.mark.slow
@pytest.mark.parametrize("routing", registry.names("routing"))
def test_an_exported_network_runs_in_operations_of_torch(routing):
    iters = 1 if routing == "variational-bayes" else 2  # each iteration is traced anew
    network, images = build(routing=routing, iters=iters).eval(), torch.rand(2, 1, 8, 8)
    program = torch.export.export(network, (images,)).run_decompositions(decomposition_table())
    assert "capsbench" not in str(program.graph_module)
    torch.testing.assert_close(program.module()(images), network(images), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_variational_bayes_is_refused_on_onnx_by_the_function_that_onnx_lacks():
    pytest.importorskip("onnxscript")
    network, images = build(routing="variational-bayes", iters=1).eval(), torch.rand(2, 1, 8, 8)
    program = torch.export.export(network, (images,)).run_decompositions(decomposition_table())
    with pytest.raises(torch.onnx.OnnxExporterError, match="digamma"):
        torch.onnx.export(program, (images,), dynamo=True, verbose=False)
