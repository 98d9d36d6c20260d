"""Transfer between networks made by hand, each of which tells bright images from dark ones at a grey of its own."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from capsbench.attacks.threats import Threat, bounds_of
from capsbench.measures.base import MeasureBetween
from capsbench.measures.transfer.measure import Transfer
from capsbench.networks.build import build_network

EPSILON = bounds_of("digits", Threat.LINF).headline
LEVELS = [0.1, 0.5 - 0.9 * EPSILON, 0.5 - 0.5 * EPSILON, 0.5 - 0.1 * EPSILON, 0.5 + 0.3 * EPSILON, 0.9]
LABELS = torch.tensor([0, 0, 0, 0, 1, 0])  # the last is misclassified


class Brightness(nn.Module):
    """Class 1 of images that are brighter than ``border`` on average, as logits."""

    def __init__(self, border=0.5):
        super().__init__()
        self.border = border

    def forward(self, images):
        above = images.mean(dim=(1, 2, 3)) - self.border
        return torch.stack([-above, above], dim=1)


@pytest.fixture
def make(subject, make_cell):
    """A subject of a border, on one image of a grey for each level."""

    def make(border=0.5, levels=LEVELS, labels=LABELS, **asked):
        cell = make_cell(network="resnet", batch=4, **asked)
        images = torch.tensor(levels)[:, None, None, None].expand(-1, 1, 8, 8).clone()
        return subject(cell, Brightness(border), images, labels)

    return make


def values_of(rows, source):
    assert all(row.measure == "transfer" and row.condition == source.cell.id and row.level == EPSILON for row in rows)
    return {row.metric: row.value for row in rows}


def test_images_that_mislead_the_source_are_shown_to_each_target(make):
    """Of the six images the third to fifth and the second cross the source's border, to the other side of it by EPSILON."""
    source = make(0.5)
    borders = [0.5, 0.5 + 0.3 * EPSILON, 0.5 - 0.6 * EPSILON]
    found = Transfer().between(source, [make(border, seeds=i) for i, border in enumerate(borders)])
    misled, labels = torch.tensor(LEVELS[1:5]), LABELS[1:5]
    after = misled + torch.where(labels == 0, EPSILON, -EPSILON)
    for rows, border in zip(found, borders, strict=True):
        values = values_of(rows, source)
        right_before, right_after = (misled > border) == labels, (after > border) == labels
        assert values["images"] == 4
        assert values["accuracy"] == pytest.approx(float(right_after.double().mean()))
        assert values["success rate"] == pytest.approx(float((~right_after)[right_before].double().mean()))
    assert values_of(found[0], source) == {"images": 4, "accuracy": 0, "success rate": 1}


def test_a_transfer_that_succeeds_where_attacks_on_the_target_fail_is_counted(make):
    source = make(0.5)
    stands = {"index": torch.tensor([4, 2, 3]), "broken.Linf": torch.tensor([False, True, False])}
    target = replace(make(0.5), kept={"adversarial": stands}.get)
    (rows,) = Transfer().between(source, [target])
    assert values_of(rows, source)["beyond white box"] == 2  # images 3 and 4
    falls = {"index": torch.tensor([4, 2, 3]), "broken.Linf": torch.tensor([True, True, True])}
    (rows,) = Transfer().between(source, [replace(target, kept={"adversarial": falls}.get)])
    assert values_of(rows, source)["beyond white box"] == 0


def test_an_image_that_the_target_has_wrong_anyhow_is_no_success(make):
    (rows,) = Transfer().between(make(0.5), [make(0.95, levels=LEVELS, labels=LABELS)])
    values = values_of(rows, make(0.5))
    assert values["success rate"] == 0  # of the three of class 0, which it takes for dark before and after
    assert values["accuracy"] == 0.75


def test_where_no_image_misleads_the_source_there_is_nothing_to_show(make):
    source = make(0.5, levels=[0.1, 0.9], labels=torch.tensor([0, 1]))
    (rows,) = Transfer().between(source, [make(0.5)])
    assert values_of(rows, source) == {"images": 0}


def test_networks_of_another_precision_are_shown_the_same(make_cell, subject):
    cells = [make_cell(routing="dynamic"), make_cell(network="resnet", precision="float64")]
    torch.manual_seed(0)
    networks = [build_network(cell).eval() for cell in cells]
    images = torch.rand(20, 1, 8, 8)
    labels = networks[0](images).argmax(dim=1)
    source, target = (subject(cell, network, images, labels) for cell, network in zip(cells, networks, strict=True))
    before = [{name: tensor.clone() for name, tensor in network.state_dict().items()} for network in networks]
    rows = Transfer().between(source, [source, target])
    assert [row.metric for row in rows[0]][:2] == ["images", "accuracy"]
    assert rows[0][1].value == 0
    assert all(0 <= row.value <= 20 for row in rows[1])
    for network, tensors in zip(networks, before, strict=True):
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in network.state_dict().items())
    assert Transfer().between(source, [source, target]) == rows


def test_it_is_taken_between_networks_that_score_one_class_an_image(make, make_cell):
    assert isinstance(Transfer(), MeasureBetween)
    assert Transfer()(make()) == []
    assert Transfer.applies_to(make_cell())
    assert Transfer.applies_to(make_cell(network="resnet"))
    assert not Transfer.applies_to(make_cell(network="transforming-autoencoder"))
    assert not Transfer.applies_to(make_cell(dataset="multimnist"))
