"""One rule for all routings: capsules of 16 bits are routed in float32, on every backend, and so are mixed ones."""

import pytest
import torch

from capsbench.registry import BUILT_IN, get
from capsbench.routing.base import LayerShape, Routing
from capsbench_kernels import Parents

NARROW = [("poses",), ("activations",), ("poses", "weights", "activations", "offset")]
"""What comes in 16 bits."""


class Weighted(Routing):
    """A user's own routing, which multiplies poses, weights and activations with a parameter of float32."""

    def __init__(self, children, parents, **options):
        super().__init__(children, parents, **options)
        self.scale = torch.nn.Parameter(torch.ones(parents, 1, 1))

    def forward(self, poses, weights, activations, offset=None):
        moments = self.vote_pass(poses, weights * self.scale, Parents(), activations, offset)
        return moments.first.unflatten(2, (poses.shape[2], weights.shape[3])), moments.mass / activations.sum(
            1, keepdim=True
        )


def make_routing(name, backend):
    torch.manual_seed(0)
    routing = (Weighted if name == "own" else get("routing", name))(6, 5, iterations=2, backend=backend)
    routing.prepare(LayerShape(6, 4, 4, 4, classes=True))
    with torch.no_grad():
        for parameter in routing.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return routing


def route(routing, inputs):
    """Poses, activations and the gradients of the inputs, by name."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in inputs.items()}
    poses, activations = routing(leaves["poses"], leaves["weights"], leaves["activations"], leaves["offset"])
    total = (poses * torch.linspace(-1, 1, poses.numel()).view_as(poses)).sum() + activations.square().sum()
    gradients = torch.autograd.grad(total, leaves.values(), allow_unused=True, materialize_grads=True)
    return (poses, activations), dict(zip(leaves, gradients, strict=True))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("narrow", NARROW, ids=["poses", "activations", "all"])
@pytest.mark.parametrize("name", [*BUILT_IN["routing"], "own"])
def test_what_is_narrow_is_taken_in_float32(name, narrow, dtype, backend):
    routing = make_routing(name, backend)
    inputs = {
        "poses": torch.randn(3, 6, 4, 4),
        "weights": torch.randn(6, 5, 4, 4),
        "activations": torch.rand(3, 6),
        "offset": torch.rand(1, 6, 4, 4),
    }
    rounded = {name: tensor.to(dtype) if name in narrow else tensor for name, tensor in inputs.items()}
    outputs, gradients = route(routing, rounded)
    expected, expected_gradients = route(routing, {name: tensor.float() for name, tensor in rounded.items()})
    assert {output.dtype for output in outputs} == {torch.float32}
    torch.testing.assert_close(outputs, expected)
    for input_name, gradient in gradients.items():
        assert gradient.dtype == rounded[input_name].dtype
        torch.testing.assert_close(gradient, expected_gradients[input_name].to(gradient.dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", BUILT_IN["routing"])
def test_the_rounding_of_the_capsules_is_all_that_is_lost(name, dtype):
    routing = make_routing(name, "cpu")
    inputs = {
        "poses": torch.randn(3, 6, 4, 4),
        "weights": 0.3 * torch.randn(6, 5, 4, 4),
        "activations": torch.rand(3, 6),
        "offset": torch.rand(1, 6, 4, 4),
    }
    (poses, activations), _ = route(routing, {name: tensor.to(dtype) for name, tensor in inputs.items()})
    (expected_poses, expected_activations), _ = route(routing, inputs)
    tolerance = 16 * torch.finfo(dtype).eps
    torch.testing.assert_close(poses, expected_poses, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(activations, expected_activations, rtol=tolerance, atol=tolerance)
