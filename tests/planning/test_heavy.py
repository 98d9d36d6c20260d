"""A CNN of as many parameters as a decoder has is told beforehand where images are large."""

import sys
from types import ModuleType

import pytest

from capsbench import api
from capsbench.data.base import Dataset
from capsbench.data.images import ImageShape
from capsbench.networks.build import build_network, forward_flops
from capsbench.planning.heavy import find_heavy_baselines
from capsbench.planning.matrix import plan_cells


class Small(Dataset):
    """Images of 28x28."""

    image = ImageShape(1, 28, 28)
    classes = 10

    def load(self, folder):
        raise AssertionError("a plan reads no images")


class Large(Small):
    """Images of 224x224."""

    image = ImageShape(3, 224, 224)


@pytest.fixture(autouse=True)
def data_sets(monkeypatch):
    module = ModuleType("sided")
    module.Small, module.Large = Small, Large
    monkeypatch.setitem(sys.modules, "sided", module)


def plan(**request):
    return plan_cells({"routing": "dynamic", "dataset": "sided:Large", "seeds": [0, 1], "measure": "none", **request})


@pytest.mark.parametrize(
    ("baseline", "size", "flag"), [("matched", "own", "baseline"), ("resnet", "matched", "baseline_size")]
)
def test_a_cnn_matched_to_a_decoder_of_large_images_is_heavy(baseline, size, flag):
    (heavy,) = find_heavy_baselines(plan(baseline=baseline, baseline_size=size, reductions=0))
    assert (heavy.cell.network, heavy.flag) == (baseline, flag)
    assert heavy.flops > 1e10


def test_neither_small_images_nor_a_network_without_a_decoder_make_one():
    assert find_heavy_baselines(plan(dataset="sided:Small", size=["tiny", "small", "paper"])) == []
    assert find_heavy_baselines(plan(routing="em")) == []
    assert find_heavy_baselines(plan(size=["tiny", "small"], baseline=["matched", "resnet"])) == []
    assert find_heavy_baselines(plan(baseline="resnet")) == []


def test_the_flops_are_those_of_the_convolutions():
    (cell,) = [each.cell for each in plan(routing="em", seeds=0) if each.cell.network == "matched"]
    network = build_network(cell, device="cpu")
    convolutions = [*network.reduction[::3], *(block[0] for block in network.features)]
    sides = [112, 56, 28, 28, 14, 7]  # of what each convolution makes
    flops = sum(2 * side**2 * layer.weight.numel() for side, layer in zip(sides, convolutions, strict=True))
    assert forward_flops(cell) == flops + 2 * network.classes.weight.numel()


def test_a_plan_and_a_run_are_told_with_the_flag_to_change():
    remarks = api.plan(routing="dynamic", dataset="sided:Large", measure="none", reductions=0).remarks
    assert any("--baseline" in line and "GFLOP" in line for line in remarks)
