import pytest
import torch

from capsbench.routing.windows import Windows


@pytest.fixture(params=[(1, 2), (2, 2), (2, 3), (1, 3)], ids=lambda p: f"stride {p[0]}, kernel {p[1]}")
def windows(request):
    stride, kernel = request.param
    return Windows((2, 5, 6), kernel, stride)


def test_split_orders_children_by_row_column_and_type(windows):
    grid = torch.arange(2 * 5 * 6 * 3.0).view(2, 5, 6, 3, 1)
    results = windows.split(grid)
    kernel, stride = windows.kernel, windows.stride
    assert results.shape[1:3] == ((5 - kernel) // stride + 1, (6 - kernel) // stride + 1)
    window = grid[1, stride : stride + kernel, stride : stride + kernel].reshape(-1, 1)
    assert torch.equal(results[1, 1, 1], window)


def test_log_sum_exp_is_over_the_windows_that_see_a_capsule(windows):
    generator = torch.Generator().manual_seed(0)
    capsules = windows.split(torch.arange(2 * 5 * 6 * 3.0).view(2, 5, 6, 3, 1)).flatten(0, 2).squeeze(2).long()
    values = torch.randn(capsules.shape, generator=generator, dtype=torch.double)
    results = windows.log_sum_exp(values)
    for capsule in capsules.unique():
        expected = values[capsules == capsule].logsumexp(dim=0)
        torch.testing.assert_close(results[capsules == capsule], expected.expand((capsules == capsule).sum()))


def test_log_sum_exp_has_finite_gradients_also_where_no_window_reaches():
    windows = Windows((1, 4, 4), 3, 2)  # the last row and column are in no window
    values = torch.zeros(1, 9 * 2, requires_grad=True)
    windows.log_sum_exp(values).sum().backward()
    assert torch.equal(values.grad, torch.ones(1, 18))


def test_equal_windows_are_one_key_of_a_dictionary():
    assert {Windows((1, 4, 4), 3, 2): "here"}[Windows((1, 4, 4), 3, 2)] == "here"


def test_gradient_of_a_split_is_that_of_unfold_to_the_bit(windows):
    generator = torch.Generator().manual_seed(0)
    grid = torch.randn(2, 5, 6, 3, 4, generator=generator, requires_grad=True)
    children = windows.split(grid)
    unfolded = grid.unfold(1, windows.kernel, windows.stride).unfold(2, windows.kernel, windows.stride)
    unfolded = unfolded.permute(0, 1, 2, 5, 6, 3, 4).flatten(3, 5)
    assert torch.equal(children, unfolded)
    cotangent = torch.randn(children.shape, generator=generator)
    (gradient,) = torch.autograd.grad(children, grid, cotangent)
    (expected,) = torch.autograd.grad(unfolded, grid, cotangent)
    assert torch.equal(gradient, expected)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_the_tangent_of_a_split_is_that_of_unfold(windows):
    grid, tangent = torch.rand(2, 2, 5, 6, 3, 4, dtype=torch.double)
    _, forward = torch.func.jvp(windows.split, (grid,), (tangent,))
    assert torch.equal(forward, windows.split(tangent))


def test_split_has_second_derivatives(windows):
    grid = torch.rand(1, 4, 5, 2, 1, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(windows.split, grid, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(windows.split, grid)
