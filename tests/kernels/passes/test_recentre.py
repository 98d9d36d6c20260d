"""Moments about another centre, parent by parent, where the given ones have lost the spread of the votes."""

import pytest
import torch

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
