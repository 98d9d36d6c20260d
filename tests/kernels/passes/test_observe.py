"""Observed vote passes, and those that are hidden."""

import pytest
import torch

from capsbench_kernels import observe_vote_passes, vote_pass
from capsbench_kernels.passes.observe import current_count, current_observer, unnoticed


def test_each_pass_of_the_block_is_seen_with_what_went_in_and_came_out(problem):
    passes, given = [], problem()
    with observe_vote_passes(passes.append):
        moments = vote_pass(**given)
        vote_pass(**problem(seed=1))
    vote_pass(**given)
    assert len(passes) == 2
    assert all(getattr(passes[0], name) is tensor for name, tensor in given.items())
    assert passes[0].moments is moments
    assert passes[0].log_normaliser is None


def test_the_shares_are_the_softmax_of_the_beliefs_logits(problem):
    passes, given = [], problem(columns=3)
    with observe_vote_passes(passes.append):
        vote_pass(**given)
    belief = given["parents"]
    votes = torch.einsum("nird,ijde->nijre", given["poses"], given["weights"]) + given["offset"].unsqueeze(2)
    votes = votes.flatten(3)
    distance = votes - belief.mean.unsqueeze(1)
    logits = belief.bias.unsqueeze(1) + (votes * belief.direction.unsqueeze(1)).sum(3)
    logits = logits - (distance.square() * belief.precision.unsqueeze(1)).sum(3) / 2
    torch.testing.assert_close(passes[0].shares(), logits.softmax(dim=2))
    assert passes[0].shares().dtype == torch.double


def test_a_hidden_pass_is_neither_seen_nor_counted(problem):
    passes = []
    counted = current_count.set("a count")
    with observe_vote_passes(passes.append):
        with unnoticed():
            assert current_count.get() is current_observer.get() is None
            vote_pass(**problem())
        assert current_count.get() == "a count"
        assert current_observer.get() == passes.append
    current_count.reset(counted)
    assert passes == []


def test_an_observer_is_gone_after_an_error():
    with pytest.raises(ZeroDivisionError), observe_vote_passes(print):
        raise ZeroDivisionError
    assert current_observer.get() is None
