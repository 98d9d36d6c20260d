import torch

from capsbench.routing import DynamicRouting, UniformRouting
from tests.routing.declared import draw_all_from, read_defaults, read_flags


def draw_tensor(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.double)


def test_every_parent_gets_an_equal_share_of_every_vote():
    poses, weights, offset = draw_tensor(2, 3, 4, 2), draw_tensor(3, 5, 2, 6), draw_tensor(1, 3, 4, 6)
    got, activations = UniformRouting(3, 5)(poses, weights, torch.ones(2, 3).double(), offset)
    for problem in range(2):
        for parent in range(5):
            total = sum(poses[problem, i] @ weights[i, parent] + offset[0, i] for i in range(3)) / 5
            length = total.norm()
            torch.testing.assert_close(got[problem, parent], total / length * (length**2 / (1 + length**2)))
            torch.testing.assert_close(activations[problem, parent], length**2 / (1 + length**2))


def test_it_is_dynamic_routing_of_one_iteration():
    problem = draw_tensor(2, 3, 4, 2), draw_tensor(3, 5, 2, 6), draw_tensor(2, 3)
    for offset in (None, draw_tensor(1, 3, 4, 6)):
        for ours, theirs in zip(
            UniformRouting(3, 5)(*problem, offset), DynamicRouting(3, 5, iterations=1)(*problem, offset), strict=True
        ):
            assert torch.equal(ours, theirs)


def test_iterations_mean_nothing_to_it(make_cell):
    assert make_cell(routing="uniform", iters=3) == make_cell(routing="uniform", iters=1)
    assert make_cell(routing="uniform").iterations == 1


def test_its_defaults_are_the_papers():
    assert read_flags(UniformRouting) == {"iterative": False}
    assert read_defaults(UniformRouting) == {"iterations": 3, "backend": "auto"}
    assert UniformRouting.presets == draw_all_from(0.1)
