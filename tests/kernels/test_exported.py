"""Routings that torch compiles, exports, and runs without this package."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

from capsbench_kernels import decomposition_table, dynamic_routing, em_routing

pytestmark = [
    pytest.mark.slow,  # a graph takes seconds to trace, and more to compile
    # Torch's own, on outputs of the first pass while it traces a branch.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]


class Dynamic(nn.Module):
    """Dynamic routing with weights of its own."""

    def __init__(self, backend):
        super().__init__()
        self.weights = nn.Parameter(torch.randn(6, 3, 4, 5, generator=torch.Generator().manual_seed(0)))
        self.route = partial(dynamic_routing, iterations=3, backend=backend)

    def forward(self, poses):
        return self.route(poses, self.weights)


class EM(Dynamic):
    """EM routing of the same poses, whose E-step is sharp enough that some passes are repeated for their precision."""

    def forward(self, poses):
        zeros, activations = torch.zeros(3), poses.sum((2, 3)).sigmoid()
        how = dict(
            iterations=2, inverse_temperature=[0.01] * 2, mass_scale=10.0, backend=self.route.keywords["backend"]
        )
        means, parents = em_routing(poses, self.weights, activations, zeros, zeros, **how)
        return torch.cat([means.flatten(), parents.flatten()])


ROUTINGS = {"dynamic": Dynamic, "em": EM}


@pytest.fixture(params=ROUTINGS)
def routing(request):
    return ROUTINGS[request.param]


@pytest.fixture(autouse=True)
def forget_graphs():
    """Lets each test compile the same code objects anew."""
    torch.compiler.reset()


def draw_poses(scale=1.0):
    return scale * torch.randn(2, 6, 2, 4, generator=torch.Generator().manual_seed(1))


def assert_same(run, module):
    """Compares a program with the module, with poses for which a spread is lost in float32 and others."""
    for scale in (1.0, 1000.0):
        expected = module(draw_poses(scale))
        torch.testing.assert_close(
            run(draw_poses(scale)), expected, rtol=1e-4, atol=1e-5 * expected.abs().amax().item()
        )


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_full_graph_has_the_values_and_gradients_of_the_eager_routing(routing, backend):
    module = routing(backend)
    compiled = torch.compile(module, fullgraph=True)
    for scale in (1.0, 1000.0):
        poses = draw_poses(scale).requires_grad_()
        mine, theirs = (
            torch.autograd.grad(run(poses).sin().sum(), (poses, module.weights)) for run in (compiled, module)
        )
        for ours, expected in zip(mine, theirs, strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4 * expected.abs().amax().item())
    assert_same(compiled, module)


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_routing_has_the_values_of_the_eager_one(routing, strict):
    module = routing("cpu")
    program = torch.export.export(module, (draw_poses(),), strict=strict)
    assert "capsbench" in str(program)
    assert_same(program.module(), module)


@pytest.mark.filterwarnings("ignore")  # torch's own
def test_aot_inductor_runs_our_kernels(routing, tmp_path):
    module = routing("cpu").requires_grad_(False)
    program = torch.export.export(module, (draw_poses(),))
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "routing.pt2"))
    assert_same(torch._inductor.aoti_load_package(package), module)


ALONE = """
import sys
sys.modules["capsbench_kernels"] = None  # importing it is an error
import torch
folder = sys.argv[1]
program = torch.export.load(folder + "/routing.pt2").module()
torch.save([program(poses) for poses in torch.load(folder + "/poses.pt")], folder + "/results.pt")
"""


@pytest.fixture
def decomposed(routing):
    """A routing, and the program of it in torch's own operations."""
    module = routing("cpu").requires_grad_(False)
    program = torch.export.export(module, (draw_poses(),)).run_decompositions(
        {**torch.export.default_decompositions(), **decomposition_table()}
    )
    assert "capsbench" not in str(program.graph_module)
    return module, program


def test_a_decomposed_program_runs_in_a_process_without_this_package(decomposed, tmp_path):
    module, program = decomposed
    torch.export.save(program, tmp_path / "routing.pt2")
    torch.save([draw_poses(), draw_poses(1000.0)], tmp_path / "poses.pt")
    subprocess.run([sys.executable, "-I", "-c", ALONE, str(tmp_path)], check=True)
    results = iter(torch.load(tmp_path / "results.pt"))
    assert_same(lambda poses: next(results), module)


@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_onnx_runtime_runs_a_decomposed_program(decomposed, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    module, program = decomposed
    torch.onnx.export(program, (draw_poses(),), tmp_path / "routing.onnx", dynamo=True, verbose=False)
    session = runtime.InferenceSession(tmp_path / "routing.onnx")
    name = session.get_inputs()[0].name
    assert_same(lambda poses: torch.from_numpy(session.run(None, {name: poses.numpy()})[0]), module)
