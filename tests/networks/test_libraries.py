import importlib.util
import sys

import pytest
import torch
from torch import nn

import capsbench
from capsbench import registry
from capsbench.data.images import ImageShape
from capsbench.errors import ArgumentError, Kind, UsageError
from capsbench.networks.build import build_network, forward_flops, parameter_count
from capsbench.networks.libraries import from_timm, from_torchvision

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")

DIGITS = ImageShape(1, 8, 8)


def plan_baseline(name, **request):
    """Returns the cell of a baseline beside CapsNet on digits."""
    _, cell = capsbench.cells(routing="dynamic", iters=1, seeds=0, baseline=name, **request)
    return cell


def test_a_network_of_torchvision_has_the_classes_and_the_channels_of_the_data():
    cell = plan_baseline("torchvision:resnet18")
    network = build_network(cell)
    assert (network.conv1.in_channels, network.conv1.stride, network.fc.out_features) == (1, (2, 2), 10)
    # The published network with 3 channels and 1,000 classes has 11,689,512 parameters.
    assert parameter_count(cell) == 11_689_512 - 2 * 64 * 49 - 990 * 513
    assert forward_flops(cell) > 0
    assert network.eval()(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_a_colour_image_leaves_the_network_as_it_is():
    network = from_torchvision("resnet18")(ImageShape(3, 32, 32), 1000)
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_689_512


@needs_timm
def test_a_network_of_timm_has_the_classes_and_the_channels_of_the_data():
    cell = plan_baseline("timm:test_resnet")
    network = build_network(cell).eval()
    assert network.conv1[0].in_channels == 1
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    assert parameter_count(cell) == sum(parameter.numel() for parameter in network.parameters())


@needs_timm
def test_a_transformer_is_built_for_the_side_of_the_images():
    network = from_timm("test_vit")(ImageShape(1, 32, 32), 7).eval()
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "least"), [("torchvision:vgg11", "32x32"), ("torchvision:alexnet", "63x63"), ("timm:test_vit", "16x16")]
)
def test_images_that_are_too_small_are_refused_with_the_least_size(name, least):
    if name.startswith("timm"):
        pytest.importorskip("timm", reason="timm is not installed")
    with pytest.raises(UsageError) as caught:
        plan_baseline(name)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.CONFLICT, "baseline", name)
    assert least in caught.value.problem


def test_the_least_size_is_one_that_passes_and_one_less_does_not():
    for side, fits in ((62, False), (63, True)):
        with torch.device("meta"):
            if fits:
                assert isinstance(from_torchvision("alexnet")(ImageShape(1, side, side), 10), nn.Module)
            else:
                with pytest.raises(ValueError, match="63x63"):
                    from_torchvision("alexnet")(ImageShape(1, side, side), 10)


def test_a_network_that_reads_its_weights_when_it_is_built_is_counted_too():
    assert parameter_count(plan_baseline("torchvision:regnet_y_400mf")) > 1_000_000


@pytest.mark.parametrize(
    "name", ["torchvision:resnet81", "torchvision:fasterrcnn_resnet50_fpn", "timm:resnet81", "timm:hf-hub:some/model"]
)
def test_a_name_that_does_not_exist_is_refused(name):
    if name.startswith("timm"):
        pytest.importorskip("timm", reason="timm is not installed")
    with pytest.raises(UsageError) as caught:
        plan_baseline(name)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.UNKNOWN, "baseline", name)
    assert ("resnet18" in str(caught.value)) != ("fasterrcnn" in name)


def test_a_library_that_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError) as caught:
        plan_baseline("timm:resnet18")
    assert (caught.value.kind, caught.value.flag) == (Kind.MISSING, "baseline")
    assert "capsbench[timm]" in str(caught.value.expected)


def test_nothing_is_pretrained_and_nobody_can_ask_for_it():
    (cell,) = capsbench.cells(network="torchvision:resnet18", seeds=0)
    assert cell.options == {"network.pretrained": False}
    with pytest.raises(UsageError) as caught:
        capsbench.cells(network="torchvision:resnet18", seeds=0, pretrained=True)
    assert (caught.value.kind, caught.value.flag) == (Kind.INVALID, "pretrained")
    with pytest.raises(ArgumentError):
        from_torchvision("resnet18")(DIGITS, 10, pretrained=True)


def test_another_version_of_the_library_is_another_cell(monkeypatch):
    before = plan_baseline("torchvision:resnet18")
    monkeypatch.setattr("capsbench.sources.libraries.version", lambda library: "0.99.1+cpu")
    after = plan_baseline("torchvision:resnet18")
    assert after.code == {"network": "torchvision 0.99.1"}
    assert before.id != after.id
    assert registry.source_parts("baseline", "torchvision:resnet18") == {"torchvision": "0.99.1"}


def test_it_cannot_be_sized():
    with pytest.raises(UsageError) as caught:
        plan_baseline("torchvision:resnet18", baseline_size="matched")
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "baseline_size")


def test_a_record_may_name_it_since_no_code_of_the_record_runs():
    assert registry.is_trusted("torchvision:resnet18")
    assert registry.kind_of("timm:resnet18") == "baseline"
    assert registry.folder_of("baseline", "torchvision:resnet18") is None


@pytest.mark.usefixtures("in_one_process")
def test_it_is_trained_and_measured_like_ours(tmp_path):
    outcome = capsbench.run(
        network="torchvision:shufflenet_v2_x0_5", seeds=0, train_size=20, epochs=1, measure="accuracy,cost",
        out=tmp_path,
    )  # fmt: skip
    assert not outcome.failed, outcome.failed
    table = capsbench.load(tmp_path)
    assert {"accuracy", "cost"} <= set(table["measure"])
    assert set(table["code.network"]) == {plan_baseline("torchvision:shufflenet_v2_x0_5").code["network"]}
