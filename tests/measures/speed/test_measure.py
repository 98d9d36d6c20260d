"""The speed measure: times and memory against networks of known cost."""

import sys
import time

import pytest
import torch
from torch import nn

from capsbench.measures.speed.measure import Speed
from capsbench.networks.build import build_network

IMAGES, LABELS = torch.rand(4, 1, 8, 8), torch.arange(4)


@pytest.fixture
def measured(subject, monkeypatch):
    """The values of a few repetitions of the speed measure, by metric and condition."""
    monkeypatch.setattr(Speed, "repeats", {"light": (5, 0.0), "full": (7, 0.0)})

    def values(cell, network):
        rows = Speed()(subject(cell, network, IMAGES, LABELS))
        return {(row.metric, row.condition): row.value for row in rows}

    return values


class Costly(nn.Module):
    """Ten logits after a wait and a tensor of a given size."""

    def __init__(self, seconds=0.0, mebibytes=0):
        super().__init__()
        self.seconds, self.mebibytes = seconds, mebibytes
        self.bias = nn.Parameter(torch.zeros(10))

    def forward(self, images):
        time.sleep(self.seconds)
        made = torch.ones(self.mebibytes * 2**18)
        return self.bias + made[:1].sum() * torch.ones(len(images), 10)


# Time


def test_times_are_those_of_one_batch(make_cell, measured):
    values = measured(make_cell(network="cnn-hinton2018"), Costly(seconds=0.01))
    for condition in ("inference", "training step"):
        assert 10 <= values["latency p50", condition] <= values["latency p95", condition] < 100
        assert values["throughput", condition] == pytest.approx(4 / (values["latency p50", condition] / 1e3))


# Memory


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a peak only grows")
@pytest.mark.parametrize("mebibytes", [16, 64])
def test_peak_memory_is_what_a_forward_pass_takes_whatever_ran_before(make_cell, measured, mebibytes):
    values = measured(make_cell(network="cnn-hinton2018"), Costly(mebibytes=mebibytes))
    assert values["peak memory", "inference"] == pytest.approx(mebibytes, rel=0.1)
    assert values["peak memory", "training step"] == pytest.approx(mebibytes, rel=0.1)


# As a whole


@pytest.mark.parametrize("asked", [dict(routing="dynamic"), dict(routing="em"), dict(network="cnn-sabour2017")])
def test_every_number_is_finite(make_cell, measured, asked):
    cell = make_cell(**asked)
    values = measured(cell, build_network(cell))
    conditions = ("inference", "training step")
    timed = {(m, c) for m in ("latency p50", "latency p95", "throughput", "peak memory") for c in conditions}
    assert values.keys() == timed
    assert all(torch.tensor(value).isfinite() for value in values.values())


def test_the_network_is_left_as_it_was(make_cell, measured):
    cell = make_cell(routing="em")
    network = build_network(cell)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    measured(cell, network)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_each_setting_has_its_repetitions():
    assert Speed.repeats.keys() == set(Speed.settings)
