"""Moments about another centre, parent by parent, where the given ones have lost the spread of the votes."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from capsbench_kernels.passes.recentre import CANCELLATION, recentred
from capsbench_kernels.passes.types import Moments, Parents


def make_moments(second, first=0.0):
    second = torch.tensor(second)
    return Moments(torch.ones(second.shape[:2]), torch.full_like(second, first), second)


def recentre(second, variance, parents, share=1.0):
    """Calls `recentred` with a repeated pass whose moments are 7 and 8, and returns its beliefs too."""
    beliefs = []

    def repeat(belief):
        beliefs.append(belief)
        return Moments(torch.full((1, 2), 5.0), torch.full((1, 2, 1), 7.0), torch.full((1, 2, 1), 8.0))

    moments = make_moments(second)
    mean = torch.tensor([[[3.0], [4.0]]])
    variance = torch.tensor([[[variance], [variance]]])
    return moments, mean, beliefs, recentred(moments, parents, mean, variance, torch.tensor(share), repeat)


@pytest.mark.parametrize("centre", [None, torch.tensor([[[1.0], [2.0]]])])
def test_a_spread_of_a_hundredth_of_the_second_moment_is_kept(centre):
    parents = Parents(centre=centre)
    given, _, beliefs, (moments, kept) = recentre([[[CANCELLATION * 2.0], [1.0]]], variance=2.0, parents=parents)
    assert moments is given
    assert kept is centre
    assert beliefs == []


@pytest.mark.parametrize(("centre", "of_first"), [(None, 0.0), (torch.tensor([[[1.0], [2.0]]]), 1.0)])
def test_a_smaller_spread_is_taken_again_of_that_parent_alone(centre, of_first):
    parents = Parents(bias=torch.ones(1, 2), centre=centre)
    second = [[[100.0], [100.5 * 2.0]]]
    given, mean, (belief,), (moments, kept) = recentre(second, variance=2.0, parents=parents)
    assert torch.equal(belief.centre, mean)
    assert belief.bias is parents.bias
    assert moments.mass is given.mass
    assert moments.first.flatten().tolist() == [0.0, 7.0]
    assert moments.second.flatten().tolist() == [100.0, 8.0]
    assert kept.flatten().tolist() == [of_first, 4.0]


def test_the_share_turns_a_variance_into_a_second_moment():
    parents = Parents()
    assert recentre([[[100.0], [0.0]]], variance=2.0, parents=parents, share=0.5)[2] == []
    assert len(recentre([[[100.1], [0.0]]], variance=2.0, parents=parents, share=0.5)[2]) == 1


def test_where_there_are_no_values_nothing_is_repeated():
    mean = torch.empty(1, 2, 1, device="meta")
    moments, parents = Moments(mean[..., 0], mean, mean), Parents()
    assert recentred(moments, parents, mean, mean, mean, lambda belief: pytest.fail("repeated")) == (moments, None)


def test_a_hundred_spreads_are_the_limit():
    assert CANCELLATION == 100


def test_a_tensor_without_values_is_always_repeated():
    """Under torch.func and on torch's fake tensors, a branch cannot read whether a spread is lost."""
    parents = Parents()
    given, _, _, (moments, kept) = recentre([[[100.0], [201.0]]], variance=2.0, parents=parents)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        second, mean = mode.from_tensor(given.second), mode.from_tensor(torch.ones(1, 2, 1))
        beliefs = []
        fake, centre = recentred(
            Moments(second[..., 0], second, second), parents, mean, mean, mean, lambda b: beliefs.append(b) or given
        )
    assert len(beliefs) == 1
    assert (fake.first.shape, centre.shape) == (moments.first.shape, kept.shape)


@pytest.mark.parametrize("second", [[[100.0], [100.5 * 2.0]], [[100.0], [1.0]]])
def test_a_graph_decides_as_it_runs(second):
    """The graph is made once, and repeats the pass in the calls that need it alone."""
    calls = []

    @torch.library.custom_op("tests::count_calls", mutates_args=())
    def count_calls(centre: torch.Tensor) -> torch.Tensor:
        calls.append(centre)
        return centre + 4

    count_calls.register_fake(torch.empty_like)

    def run(second, mean):
        moments = Moments(second[..., 0], second * 0, second)

        def repeat(belief):
            return Moments(moments.mass, count_calls(belief.centre), second + 1)

        again, centre = recentred(moments, Parents(), mean, torch.full_like(mean, 2.0), torch.tensor(1.0), repeat)
        return again.first, again.second, centre

    tensors = torch.tensor([second]), torch.tensor([[[3.0], [4.0]]])
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    lost = tensors[0] > 200
    for ours, expected in zip(
        compiled(*tensors), (lost * (tensors[1] + 4), tensors[0] + lost, lost * tensors[1]), strict=True
    ):
        assert torch.equal(ours, expected.float())
    assert len(calls) == int(lost.any())
