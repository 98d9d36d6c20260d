"""The overlap measure against counting by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from capsbench.measures.overlap.measure import Overlap

LABELS = torch.tensor([[0, 1], [1, 0], [2, 3], [3, 1], [4, 0]])
FOUND = [(0, 1), (0, 1), (2, 4), (4, 3), (2, 3)]  # the higher score first: both, both, one, one, none


class Lookup(nn.Module):
    """Gives the scores of row i for an image whose pixels are i."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def forward(self, images):
        return self.scores[images[:, 0, 0, 0].long()]


@pytest.fixture
def rows_of(subject, make_cell):
    """The rows of a network that finds these classes, the surest first, of images with these labels."""

    def measure(labels, found, kept=None):
        scores = torch.zeros(len(labels), 5)
        for row, classes in zip(scores, found, strict=True):
            for place, label in enumerate(classes):
                row[label] = 1 - 0.1 * place
        images = torch.arange(len(labels)).float().reshape(-1, 1, 1, 1)
        return Overlap()(subject(make_cell(dataset="multimnist"), Lookup(scores), images, labels, kept))

    return measure


def test_numbers_are_those_counted_by_hand(rows_of):
    rows = rows_of(LABELS, FOUND)
    assert {(row.metric, row.condition): row.value for row in rows} == {
        ("accuracy", "all found"): pytest.approx(2 / 5),
        ("accuracy", "at least one found"): pytest.approx(4 / 5),
        ("accuracy", "first"): pytest.approx(3 / 5),
        ("error", "image"): pytest.approx(3 / 5),
        ("error", "object"): pytest.approx(4 / 10),
    }
    assert {(row.measure, row.unit) for row in rows} == {("overlap", "fraction")}


def test_which_objects_are_found_is_kept(rows_of):
    kept: dict[str, torch.Tensor] = {}
    rows_of(LABELS, FOUND, kept)
    assert kept["label"].tolist() == LABELS.tolist()
    expected = [[label in classes for label in row] for row, classes in zip(LABELS.tolist(), FOUND, strict=True)]
    assert kept["found"].tolist() == expected


def test_accuracy_by_shared_ink_is_of_tenths_of_the_images(subject, make_cell):
    labels = torch.tensor([[0, 1]]).expand(40, 2)
    overlap = torch.rand(40, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    scores = (
        torch.eye(5)[0] + torch.eye(5)[torch.where(overlap < 0.5, 1, 2)]
    )  # the second is found where little is shared
    images = torch.arange(40).float().reshape(-1, 1, 1, 1)
    made = subject(make_cell(dataset="multimnist"), Lookup(scores), images, labels)
    rows = Overlap()(replace(made, data=replace(made.data, about={"test": {"overlap": overlap}})))
    found = [(row.level, row.value) for row in rows if row.condition == "all found, by shared ink"]
    groups = overlap.sort().values.view(10, 4)
    assert [level for level, _ in found] == pytest.approx(groups.mean(dim=1).tolist())
    assert [value for _, value in found] == (groups < 0.5).double().mean(dim=1).tolist()


def test_three_objects_an_image(rows_of):
    rows = rows_of(torch.tensor([[0, 1, 2], [4, 3, 2]]), [(2, 1, 0), (2, 0, 1)])
    values = {(row.metric, row.condition): row.value for row in rows}
    assert values["accuracy", "all found"] == 0.5
    assert values["accuracy", "at least one found"] == values["accuracy", "first"] == 1.0
    assert values["error", "object"] == pytest.approx(2 / 6)


def test_it_applies_where_images_show_several_objects(make_cell):
    assert Overlap.applies_to(make_cell(dataset="multimnist"))
    assert not Overlap.applies_to(make_cell(dataset="mnist"))
    assert not Overlap.applies_to(make_cell(dataset="digits", network="transforming-autoencoder"))
