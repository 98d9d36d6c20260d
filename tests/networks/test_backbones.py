"""Backbones of libraries in front of a network: their feature maps, what is shared and counted, and what is refused."""

import numpy as np
import pytest
import torch

import capsbench
from capsbench.data.images import ImageShape
from capsbench.errors import Kind, UsageError
from capsbench.networks.backbones import SHORTEST, CapsulesBehind, count_parameters, find_seen, make_backbone
from capsbench.networks.build import build_network, head_count, parameter_count
from capsbench.planning.edits import find_edits
from capsbench.records.store import Store
from capsbench.sources import libraries

SMALL = "torchvision:squeezenet1_1"
ASKED = {"routing": "dynamic", "iters": 1, "seeds": 0, "device": "cpu", "epochs": 1, "backbone": SMALL}


@pytest.fixture
def photos(tmp_path):
    """Twenty colour images of 32x32 in two classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "photos.npz", images=pixels, labels=np.arange(20) % 2)
    return tmp_path / "photos.npz"


@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:resnet18", SMALL, "torchvision:regnet_y_400mf"])
@pytest.mark.parametrize("image", [ImageShape(1, 64, 48), ImageShape(3, 32, 32)])
def test_a_backbone_ends_at_its_deepest_map_that_is_large_enough(name, image):
    seen = find_seen(name, image)
    made = make_backbone(name, image).eval()(torch.rand(2, *image))
    assert list(made.shape) == [2, *seen]
    assert SHORTEST <= min(seen[1:]) < 2 * SHORTEST
    assert find_seen("none", image) == image


def test_two_libraries_with_one_network_make_maps_of_one_shape():
    for side, expected in ((64, (128, 8, 8)), (128, (256, 8, 8)), (224, (256, 14, 14))):
        image = ImageShape(3, side, side)
        assert {find_seen(f"{library}:resnet18", image) for library in ("timm", "torchvision")} == {expected}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("resnet18", Kind.INVALID),
        ("timm:resnet", Kind.UNKNOWN),
        ("torchvision:swin_t", Kind.CONFLICT),
        ("torchvision:inception_v3", Kind.CONFLICT),
        ("timm:vit_tiny_patch16_224", Kind.CONFLICT),
    ],
)
def test_what_makes_no_feature_maps_is_refused(name, kind):
    with pytest.raises(UsageError) as caught:
        find_seen(name, ImageShape(3, 64, 64))
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (kind, "backbone", name)


def test_images_that_are_too_small_are_refused():
    with pytest.raises(UsageError) as caught:
        capsbench.cells(dataset="digits", **{**ASKED, "backbone": "torchvision:resnet18"})
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "backbone")
    assert "resnet18" not in str(caught.value.expected)  # a CNN with stages is what was named


def test_a_capsule_network_and_its_baseline_share_the_backbone_and_have_heads_of_one_size(photos):
    capsules, cnn = capsbench.cells(dataset=photos, **ASKED)
    backbone = count_parameters(SMALL, ImageShape(3, 32, 32))
    assert backbone > 0
    assert (capsules.backbone, cnn.backbone) == (SMALL, SMALL)
    assert cnn.options["network.parameters"] == pytest.approx(head_count(capsules), rel=0.05)
    assert head_count(cnn) == pytest.approx(head_count(capsules), rel=0.02)
    assert parameter_count(cnn) == head_count(cnn) + backbone
    # A network of a library is whole, and sees the images.
    _, other = capsbench.cells(dataset=photos, **ASKED, baseline="torchvision:squeezenet1_0")
    assert (other.backbone, other.freeze_backbone) == ("none", False)


def test_sizes_are_those_for_the_feature_maps_and_the_decoder_makes_images(photos):
    (cell,) = capsbench.cells(dataset=photos, **ASKED, baseline="none")
    assert cell.options["network.kernel"] == 3  # of images of 15x15, as the feature maps are
    network = build_network(cell)
    assert isinstance(network, CapsulesBehind)
    images = torch.rand(2, 3, 32, 32)
    capsules = network.capsules(images)
    assert list(capsules.activations.shape) == [2, 2]
    assert network.decoder(capsules.poses, torch.tensor([0, 1])).shape == images.shape
    assert sum(parameter.numel() for parameter in network.parameters()) == parameter_count(cell)


def test_a_frozen_backbone_keeps_its_weights_and_passes_gradients_on(photos):
    (cell,) = capsbench.cells(dataset=photos, **ASKED, freeze_backbone=True, baseline="none")
    (trained,) = capsbench.cells(dataset=photos, **ASKED, baseline="none")
    assert cell.id != trained.id
    network, images = build_network(cell), torch.rand(2, 3, 32, 32, requires_grad=True)
    network(images).sum().backward()
    assert all(parameter.grad is None for parameter in network.backbone.parameters())
    assert images.grad.abs().sum() > 0
    assert any(parameter.grad is not None for parameter in network.network.parameters())
    assert all(parameter.requires_grad for parameter in build_network(trained).parameters())


@pytest.mark.parametrize(
    ("request_", "flag"),
    [
        ({"freeze_backbone": True, "backbone": "none"}, "freeze_backbone"),
        ({"network": "transforming-autoencoder", "routing": None, "iters": None}, "backbone"),
    ],
)
def test_what_makes_no_sense_is_refused(photos, request_, flag):
    with pytest.raises(UsageError) as caught:
        capsbench.cells(dataset=photos, **{**ASKED, **request_})
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, flag)


def test_the_version_of_the_library_is_part_of_the_identity(photos, monkeypatch):
    (cell,) = capsbench.cells(dataset=photos, **ASKED, baseline="none")
    assert cell.code["backbone"] == libraries.describe_version(SMALL)
    assert find_edits(cell, {}) == {}
    monkeypatch.setattr(libraries, "version", lambda library: "0.0")
    assert find_edits(cell, {}) == {f"backbone {SMALL}": []}


@pytest.mark.usefixtures("in_one_process")
def test_networks_behind_a_backbone_are_trained_measured_and_used(photos, tmp_path):
    outcome = capsbench.run(out=tmp_path / "r", dataset=photos, **ASKED, measure="accuracy,cost", workers=1)
    assert len(outcome.finished) == 2
    records, _ = Store(tmp_path / "r").records()
    for record in records:
        counted = [row.value for row in record.rows if row[:3] == ("cost", "parameters", "trained")]
        assert counted == [parameter_count(record.cell)]
    network = capsbench.network("dynamic", out=tmp_path / "r")
    assert network.predict(torch.rand(3, 32, 32)).label in {"0", "1"}
