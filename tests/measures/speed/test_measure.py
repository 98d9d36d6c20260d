"""The speed measure: counts against arithmetic by hand, times and memory against networks of known cost."""

import sys
import time

import pytest
import torch
from torch import nn

from capsbench.measures.speed.measure import Speed, flops
from capsbench.networks.build import build_network
from capsbench_kernels import Parents, vote_pass_flops

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


# Arithmetic


def test_flops_of_a_convolution_and_a_linear_layer():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 5))
    assert flops(network, torch.zeros(4, 2, 5, 5)) == 4 * (2 * 3 * 3 * (3 * 3 * 2) * 3 + 2 * 27 * 5)


@pytest.mark.parametrize("iterations", [1, 3])
def test_flops_of_capsnet_are_those_of_its_convolutions_and_vote_passes(make_cell, iterations):
    """8x8 images: 32 channels of 6x6, then 4 types of 8 values on 2x2, then 10 classes of 16 values."""
    network = build_network(make_cell(iters=iterations))
    stem, primary = 2 * 9 * 32 * 6 * 6, 2 * 9 * 32 * 32 * 2 * 2
    poses, weights = torch.zeros(4, 16, 1, 8), torch.zeros(16, 10, 8, 16)
    first = vote_pass_flops(poses, weights, Parents())
    later = vote_pass_flops(poses, weights, Parents(direction=torch.zeros(4, 10, 16)))
    assert flops(network, IMAGES) == 4 * (stem + primary) + first + (iterations - 1) * later


def test_flops_of_every_routing_layer_are_counted(make_cell):
    network = build_network(make_cell(network="matrix-capsules", routing="uniform"))
    stem, primary = 2 * 9 * 32 * 6 * 6, 2 * 32 * (4 * 16) * 6 * 6
    passes = [
        (4 * 16, 9 * 4, 4),  # problems, children and parents: 4x4 positions
        (4 * 4, 9 * 4, 8),  # 2x2 positions
        (4, 2 * 2 * 8, 10),
    ]
    offset = torch.zeros(1)
    routed = sum(
        vote_pass_flops(torch.zeros(n, i, 4, 4), torch.zeros(i, j, 4, 4), Parents(), offset if j == 10 else None)
        for n, i, j in passes
    )
    assert flops(network, IMAGES) == 4 * (stem + primary) + routed


# Parameters


def test_parameters_with_and_without_the_decoder(make_cell, measured):
    cell = make_cell()
    network = build_network(cell)
    decoder = 160 * 64 + 64 + 64 * 128 + 128 + 128 * 64 + 64
    values = measured(cell, network)
    everything = sum(parameter.numel() for parameter in network.parameters())
    assert values["parameters", "trained"] == everything
    assert values["parameters", "inference"] == everything - decoder


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
    counted = {("parameters", "trained"), ("parameters", "inference"), ("flops", "inference")}
    assert values.keys() == timed | counted
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
