"""Self-routing against the equations of Hahn 2019, written here as loops over children and parents."""

import pytest
import torch

from capsbench.routing.base import LayerShape
from capsbench.routing.self_routing import SelfRouting
from capsbench_kernels import count_arithmetic
from tests.routing.declared import read_defaults, read_flags

PROBLEMS, CHILDREN, PARENTS, DEPTH, COLUMNS = 2, 6, 5, 3, 4


def draw_tensor(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.double)


def make_routing(rows=1, columns=COLUMNS, transforms=CHILDREN, backend="auto"):
    """A routing whose logits are drawn rather than 0."""
    routing = SelfRouting(CHILDREN, PARENTS, backend=backend)
    routing.prepare(LayerShape(transforms, rows, DEPTH, columns, classes=False))
    with torch.no_grad():
        routing.routing_matrices.copy_(draw_tensor(*routing.routing_matrices.shape))
        routing.routing_bias.copy_(draw_tensor(*routing.routing_bias.shape, seed=1))
    return routing.double()


def make_problem(rows=1, columns=COLUMNS, offset=False):
    """Poses, weights, activations and an offset."""
    return (
        draw_tensor(PROBLEMS, CHILDREN, rows, DEPTH),
        draw_tensor(CHILDREN, PARENTS, DEPTH, columns),
        draw_tensor(PROBLEMS, CHILDREN).sigmoid(),
        draw_tensor(1, CHILDREN, rows, columns) if offset else None,
    )


def route_by_loops(routing, poses, weights, activations, offset=None):
    """Poses and activations of the parents, one child and one parent at a time."""
    matrices, bias = routing.routing_matrices, routing.routing_bias
    every_pose, every_activation = [], []
    for n in range(PROBLEMS):
        pose, share_of = [0.0] * PARENTS, [0.0] * PARENTS
        for i in range(CHILDREN):
            index = i % len(matrices)
            logits = [(matrices[index, j] * poses[n, i]).sum() + bias[index, j] for j in range(PARENTS)]
            powers = [logit.exp() for logit in logits]
            for j in range(PARENTS):
                vote = poses[n, i] @ weights[i, j]
                if offset is not None:
                    vote = vote + offset[0, i]
                share = powers[j] / sum(powers) * activations[n, i]
                pose[j] = pose[j] + share * vote
                share_of[j] = share_of[j] + share
        every_pose.append(torch.stack([pose[j] / share_of[j] for j in range(PARENTS)]))
        every_activation.append(torch.stack([share_of[j] / activations[n].sum() for j in range(PARENTS)]))
    return torch.stack(every_pose), torch.stack(every_activation)


def compare_all(ours, theirs):
    for mine, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, expected)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("rows", [1, 4])
def test_parents_and_gradients_are_those_of_the_equations(rows, offset, backend):
    routing, given = make_routing(rows, backend=backend), make_problem(rows, offset=offset)
    inputs = [tensor.requires_grad_() for tensor in given if tensor is not None] + list(routing.parameters())
    assert len(inputs) == 5 + offset
    ours, theirs = routing(*given), route_by_loops(routing, *given)
    assert ours[0].shape == (PROBLEMS, PARENTS, rows, COLUMNS)
    compare_all(ours, theirs)

    gradients = [
        torch.autograd.grad(
            (poses * draw_tensor(*poses.shape)).sum() + (shares * draw_tensor(*shares.shape)).sum(), inputs
        )
        for poses, shares in (ours, theirs)
    ]
    compare_all(*gradients)


def test_backends_agree_in_single_precision():
    given = [tensor if tensor is None else tensor.float() for tensor in make_problem(4, offset=True)]
    compare_all(*(make_routing(4, backend=backend).float()(*given) for backend in ("reference", "cpu")))


def test_it_starts_from_equal_shares():
    routing = SelfRouting(CHILDREN, PARENTS)
    routing.prepare(LayerShape(CHILDREN, 1, DEPTH, COLUMNS, classes=False))
    poses, activations = routing.double()(*make_problem())
    torch.testing.assert_close(activations, torch.full_like(activations, 1 / PARENTS))
    votes = torch.einsum("nird,ijde->nijre", make_problem()[0], make_problem()[1])
    weight = make_problem()[2] / make_problem()[2].sum(dim=1, keepdim=True)
    torch.testing.assert_close(poses, torch.einsum("nijre,ni->njre", votes, weight))


def test_it_takes_one_vote_pass():
    with count_arithmetic() as counted:
        make_routing(4)(*make_problem(4))
    assert counted.passes == 1


def test_activations_of_the_parents_add_up_to_1():
    activations = make_routing()(*make_problem())[1]
    torch.testing.assert_close(activations.sum(dim=1), torch.ones(PROBLEMS, dtype=torch.double))
    assert activations.min() > 0


def test_an_inactive_child_has_no_say():
    poses, weights, activations, _ = make_problem()
    activations[:, 2] = 0
    moved = poses.clone()
    moved[:, 2] += 1
    compare_all(make_routing()(poses, weights, activations), make_routing()(moved, weights, activations))


def test_without_an_active_child_parents_and_gradients_are_finite():
    poses, weights, activations, _ = make_problem()
    routing = make_routing()
    inputs = [poses.requires_grad_(), weights.requires_grad_(), (0 * activations).requires_grad_()]
    outputs = routing(*inputs)
    assert all(not output.any() for output in outputs)
    for gradient in torch.autograd.grad(sum(output.sum() for output in outputs), [*inputs, *routing.parameters()]):
        assert gradient.isfinite().all()


def test_certain_children_leave_the_other_parents_finite():
    """In single precision, where shares underflow to 0 and a weighted mean over them would be 0 / 0."""
    poses, weights, activations, _ = make_problem()
    routing = make_routing().float()
    with torch.no_grad():
        routing.routing_bias[:, 0] += 200
    inputs = [tensor.float().requires_grad_() for tensor in (poses, weights, activations)]
    outputs = routing(*inputs)
    torch.testing.assert_close(outputs[1][:, 0], torch.ones(PROBLEMS))
    for gradient in torch.autograd.grad(sum(output.sum() for output in outputs), [*inputs, *routing.parameters()]):
        assert gradient.isfinite().all()


def test_routing_matrices_are_shared_where_transformation_matrices_are():
    """Children are ordered by position, then by type."""
    routing = make_routing(transforms=3)
    assert routing.routing_matrices.shape == (3, PARENTS, 1, DEPTH)
    poses, weights, activations, _ = make_problem()
    shared = poses, weights[:3].repeat(2, 1, 1, 1), activations
    compare_all(routing(*shared), route_by_loops(routing, *shared))


def test_activations_need_no_votes():
    poses, weights, activations, _ = make_problem()
    none, same = make_routing(columns=0)(poses, weights[..., :0], activations)
    assert none.shape == (PROBLEMS, PARENTS, 1, 0)
    torch.testing.assert_close(same, make_routing()(poses, weights, activations)[1])


def test_iterations_mean_nothing_to_it(make_cell):
    cell = make_cell(routing="self-routing", iters=3)
    assert cell == make_cell(routing="self-routing")
    assert (cell.iterations, cell.network) == (1, "capsnet-hahn2019")


def test_its_defaults_are_the_papers():
    assert read_flags(SelfRouting) == {
        "network": "capsnet-hahn2019",
        "separate_activations": True,
        "iterative": False,
        "activations_need_votes": False,
    }
    assert read_defaults(SelfRouting) == {"iterations": 1, "backend": "auto"}
    assert SelfRouting.presets == {}
