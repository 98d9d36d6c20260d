import pytest
import torch

from capsbench.errors import ArgumentError
from capsbench.routing import DynamicRouting
from capsbench.routing.base import LayerShape
from capsbench_kernels import dynamic_routing
from tests.routing.declared import draw_all_from, read_defaults, read_flags


@pytest.fixture
def problem():
    """Poses [3, 6, 1, 4], weights [6, 5, 4, 8] and activations [3, 6]."""
    generator = torch.Generator().manual_seed(0)
    poses, weights = torch.randn(3, 6, 1, 4, generator=generator), torch.randn(6, 5, 4, 8, generator=generator)
    return poses, weights, torch.rand(3, 6, generator=generator)


@pytest.mark.parametrize("iterations", [1, 3])
def test_poses_are_those_of_the_procedure_and_activations_their_lengths(problem, iterations):
    poses, activations = DynamicRouting(6, 5, iterations=iterations)(*problem)
    assert torch.equal(poses, dynamic_routing(*problem[:2], iterations))
    torch.testing.assert_close(activations, poses.square().sum(dim=(2, 3)).sqrt())
    assert activations.max() < 1


def test_a_matrix_pose_is_as_long_as_all_its_values(problem):
    poses, weights, activations = problem
    poses, lengths = DynamicRouting(6, 5)(poses.unflatten(3, (2, 2)).squeeze(2), weights[:, :, :2], activations)
    torch.testing.assert_close(lengths, poses.flatten(2).norm(dim=2))


def test_a_pose_tells_by_its_length_so_activations_are_not_read(problem):
    poses, weights, activations = problem
    routing = DynamicRouting(6, 5)
    assert torch.equal(routing(poses, weights, activations)[0], routing(poses, weights, 0 * activations)[0])


def test_an_offset_moves_the_votes(problem):
    routing = DynamicRouting(6, 5)
    assert not torch.equal(routing(*problem)[0], routing(*problem, torch.ones(1, 6, 1, 8))[0])


def test_gradient_last_is_handed_on(problem):
    poses, weights, activations = problem
    gradients = []
    for gradient in ("all", "last"):
        leaf = poses.clone().requires_grad_()
        DynamicRouting(6, 5, gradient=gradient)(leaf, weights, activations)[0].sum().backward()
        gradients.append(leaf.grad)
    assert not torch.allclose(*gradients)


def test_an_unknown_gradient_is_refused_before_anything_is_computed():
    with pytest.raises(ArgumentError) as caught:
        DynamicRouting(6, 5, gradient="first")
    assert (caught.value.argument, caught.value.value) == ("gradient", "first")


@pytest.mark.parametrize("squash", ["sabour", "efficient"])
def test_the_activation_is_the_length_that_the_squash_gives(problem, squash):
    poses, activations = DynamicRouting(6, 5, squash=squash)(*problem)
    assert torch.equal(poses, dynamic_routing(*problem[:2], 3, variant=squash))
    torch.testing.assert_close(activations, poses.flatten(2).norm(dim=2))


def test_with_unit_poses_the_activation_is_sabours_length(problem):
    poses, weights, activations = problem
    outputs, lengths = DynamicRouting(6, 5, iterations=1, squash="unit")(poses, weights, activations)
    torch.testing.assert_close(outputs.flatten(2).norm(dim=2), torch.ones(3, 5))
    expected = DynamicRouting(6, 5, iterations=1)(poses, weights, activations)[1]
    torch.testing.assert_close(lengths, expected)


def test_the_bias_of_the_authors_starts_at_a_tenth_and_is_learnt(problem):
    routing = DynamicRouting(6, 5, bias=True)
    routing.prepare(LayerShape(6, 1, 4, 8, classes=True))
    assert torch.equal(routing.bias, torch.full((5, 8), 0.1))
    poses, _ = routing(*problem)
    assert torch.equal(poses, dynamic_routing(*problem[:2], 3, bias=routing.bias))
    poses.sum().backward()
    assert routing.bias.grad.abs().min() > 0


def test_an_unknown_squash_is_refused():
    with pytest.raises(ArgumentError) as caught:
        DynamicRouting(6, 5, squash="cubic")
    assert (caught.value.argument, caught.value.value) == ("squash", "cubic")
    assert all(squash in caught.value.expected for squash in ("sabour", "efficient", "unit"))


def test_its_defaults_are_the_papers():
    assert read_flags(DynamicRouting) == {}
    assert read_defaults(DynamicRouting) == {
        "iterations": 3,
        "backend": "auto",
        "gradient": "all",
        "squash": "sabour",
        "leaky": False,
        "bias": False,
    }
    assert DynamicRouting.presets == draw_all_from(0.1)
