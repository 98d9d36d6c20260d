"""Inverted dot-product attention against Procedure 1 of Tsai 2020, written here as loops over children and parents."""

import pytest
import torch

from capsbench.routing.base import LayerShape
from capsbench.routing.inverted_attention import InvertedAttentionRouting
from tests.routing.declared import draw_all_from, read_defaults, read_flags

PROBLEMS, CHILDREN, PARENTS, DEPTH, COLUMNS = 2, 6, 5, 3, 4


def draw_tensor(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.double)


def make_routing(rows=1, classes=True, **options):
    """A routing whose layer norm has a scale and a shift of its own."""
    routing = InvertedAttentionRouting(CHILDREN, PARENTS, **options)
    routing.prepare(LayerShape(CHILDREN, rows, DEPTH, COLUMNS, classes=classes))
    routing.double()
    with torch.no_grad():
        routing.norm.weight.copy_(1 + 0.1 * draw_tensor(rows * COLUMNS))
        routing.norm.bias.copy_(0.1 * draw_tensor(rows * COLUMNS, seed=1))
        if classes:
            routing.head.weight.copy_(draw_tensor(1, rows * COLUMNS, seed=2))
    return routing


def make_problem(rows=1, offset=False):
    """Poses, weights, activations and an offset."""
    return (
        draw_tensor(PROBLEMS, CHILDREN, rows, DEPTH),
        draw_tensor(CHILDREN, PARENTS, DEPTH, COLUMNS),
        draw_tensor(PROBLEMS, CHILDREN).sigmoid(),
        draw_tensor(1, CHILDREN, rows, COLUMNS) if offset else None,
    )


def route_by_loops(routing, iterations, poses, weights, activations, offset=None, scaled=True):
    """Poses and class probabilities, one child and one parent at a time."""
    rows = poses.shape[2]
    divisor = (rows * COLUMNS) ** 0.5 if scaled else 1.0
    every_pose, every_probability = [], []
    for n in range(PROBLEMS):
        parents = [torch.zeros(rows * COLUMNS, dtype=torch.double)] * PARENTS
        for _ in range(iterations):
            total = [0.0] * PARENTS
            for i in range(CHILDREN):
                votes = [poses[n, i] @ weights[i, j] for j in range(PARENTS)]
                votes = [(vote if offset is None else vote + offset[0, i]).flatten() for vote in votes]
                powers = [((parents[j] * votes[j]).sum() / divisor).exp() for j in range(PARENTS)]
                for j in range(PARENTS):
                    total[j] = total[j] + powers[j] / sum(powers) * votes[j]
            parents = []
            for j in range(PARENTS):
                centred = total[j] - total[j].mean()
                normal = centred / (centred.square().mean() + 1e-5).sqrt()
                parents.append(normal * routing.norm.weight + routing.norm.bias)
        powers = [(pose * routing.head.weight[0]).sum().exp() for pose in parents]
        every_pose.append(torch.stack(parents))
        every_probability.append(torch.stack([power / sum(powers) for power in powers]))
    return torch.stack(every_pose).unflatten(2, (rows, COLUMNS)), torch.stack(every_probability)


def compare_all(ours, theirs):
    for mine, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, expected)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("iterations", [1, 3])
def test_parents_and_gradients_are_those_of_the_procedure(iterations, rows, offset, backend):
    routing = make_routing(rows, iterations=iterations, backend=backend)
    poses, weights, activations, moved = make_problem(rows, offset)
    inputs = [tensor.requires_grad_() for tensor in (poses, weights, moved) if tensor is not None]
    inputs += routing.parameters()
    assert len(inputs) == 5 + offset
    ours = routing(poses, weights, activations, moved)
    theirs = route_by_loops(routing, iterations, poses, weights, activations, moved)
    compare_all(ours, theirs)

    gradients = [
        torch.autograd.grad(
            (poses * draw_tensor(*poses.shape)).sum() + (shares * draw_tensor(*shares.shape)).sum(), inputs
        )
        for poses, shares in (ours, theirs)
    ]
    compare_all(*gradients)


def test_the_agreement_of_the_papers_text_is_not_scaled():
    plain = make_routing(2, iterations=3, scaled=False)
    compare_all(plain(*make_problem(2)), route_by_loops(plain, 3, *make_problem(2), scaled=False))
    assert not torch.allclose(plain(*make_problem(2))[0], make_routing(2, iterations=3)(*make_problem(2))[0])


def test_backends_agree_in_single_precision():
    given = [tensor if tensor is None else tensor.float() for tensor in make_problem(4, offset=True)]
    compare_all(*(make_routing(4, iterations=3, backend=backend).float()(*given) for backend in ("reference", "cpu")))


def test_poses_of_0_are_where_it_starts():
    routing = make_routing(2, iterations=2)
    zeros = torch.zeros(PROBLEMS, PARENTS, 2, COLUMNS, dtype=torch.double)
    compare_all(routing(*make_problem(2)), routing(*make_problem(2), parents=zeros))


def test_steps_from_the_poses_so_far_are_its_iterations():
    routing = make_routing(2, iterations=3)
    poses = None
    for _ in range(3):
        poses, probabilities = routing(*make_problem(2), parents=poses, steps=1)
    compare_all((poses, probabilities), routing(*make_problem(2)))


def test_activations_of_children_are_not_read():
    poses, weights, activations, _ = make_problem()
    compare_all(make_routing()(poses, weights, activations), make_routing()(poses, weights, 0 * activations))


def test_below_the_classes_every_capsule_is_active():
    poses, activations = make_routing(classes=False)(*make_problem())
    assert torch.equal(activations, torch.ones(PROBLEMS, PARENTS, dtype=torch.double))
    compare_all([poses], [make_routing()(*make_problem())[0]])
    assert [name for name, _ in make_routing(classes=False).named_parameters()] == ["norm.weight", "norm.bias"]


def test_a_class_is_as_probable_as_its_pose_says_whatever_its_place():
    """One map for all classes: other places for the parents are other places for their probabilities."""
    poses, weights, activations, _ = make_problem()
    order = torch.tensor([3, 0, 4, 1, 2])
    probabilities = make_routing()(poses, weights, activations)[1]
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(PROBLEMS, dtype=torch.double))
    torch.testing.assert_close(make_routing()(poses, weights[:, order], activations)[1], probabilities[:, order])


def test_it_comes_with_the_network_and_the_loss_of_its_paper(make_cell):
    cell = make_cell(routing="inverted-attention")
    assert (cell.network, cell.iterations, cell.loss) == ("capsnet-tsai2020", 2, "cross-entropy")
    assert cell.component_options("routing") == {"scaled": True}


def test_its_defaults_are_the_papers():
    assert read_flags(InvertedAttentionRouting) == {"network": "capsnet-tsai2020", "continues": True}
    assert read_defaults(InvertedAttentionRouting) == {"iterations": 2, "backend": "auto", "scaled": True}
    assert InvertedAttentionRouting.presets == draw_all_from(0.1)
