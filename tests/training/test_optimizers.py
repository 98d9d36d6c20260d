"""The optimisers are torch's: the same weights and state, without the import of its compiler."""

import subprocess
import sys

import pytest
import torch
from torch import nn, optim

from capsbench.training import optimizers

KINDS = [("Adam", {}), ("AdamW", {"weight_decay": 0.1}), ("SGD", {"momentum": 0.9})]


def train(kind, options):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3))
    optimizer = kind(network.parameters(), lr=0.01, **options)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, 0.01, 5, cycle_momentum=False)
    for _ in range(4):
        optimizer.zero_grad()
        network(torch.randn(4, 1, 8, 8)).square().sum().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network, optimizer


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_weights_and_state_are_those_of_torch(name, options):
    ours, our_optimizer = train(getattr(optimizers, name), options)
    theirs, their_optimizer = train(getattr(optim, name), options)
    assert isinstance(our_optimizer, getattr(optim, name))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
    state, expected = our_optimizer.state_dict(), their_optimizer.state_dict()
    assert state["param_groups"] == expected["param_groups"]
    assert state["state"].keys() == expected["state"].keys()
    their_optimizer.load_state_dict(state)
    our_optimizer.load_state_dict(expected)
    again = our_optimizer.state_dict()["state"]
    for number, entry in expected["state"].items():
        for key, value in entry.items():
            assert torch.equal(again[number][key], value)


@pytest.mark.parametrize("name", [name for name, _ in KINDS])
def test_a_step_takes_no_gradients(name):
    weight = nn.Parameter(torch.ones(2))
    optimizer = getattr(optimizers, name)([weight], lr=0.1)
    weight.square().sum().backward()
    optimizer.step()
    assert weight.is_leaf
    assert (weight < 1).all()


@pytest.mark.slow
def test_a_step_does_not_import_the_compiler():
    code = (
        "import sys, torch; from capsbench.training.optimizers import Adam; weight = torch.nn.Parameter(torch.ones(2)); "
        "step = Adam([weight]); step.zero_grad(); weight.sum().backward(); step.step(); step.load_state_dict(step.state_dict()); "
        "assert (weight < 1).all(); assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
