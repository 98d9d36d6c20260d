"""The measure average-precision against the definition, worked by hand and summed over all thresholds."""

import pytest
import torch
from torch import nn

from capsbench.measures.average_precision.measure import AveragePrecision, compute_average_precisions
from capsbench.measures.build import measures_of
from capsbench.networks.build import build_network
from tests.scattered import draw_scattered


def sum_over_thresholds(scores: list[float], shown: list[bool]) -> float:
    """The sum of recall gained times precision, over all thresholds from the highest score down."""
    total, recall = 0.0, 0.0
    for threshold in sorted({*scores}, reverse=True):
        chosen = [is_shown for score, is_shown in zip(scores, shown, strict=True) if score >= threshold]
        total += (sum(chosen) / sum(shown) - recall) * sum(chosen) / len(chosen)
        recall = sum(chosen) / sum(shown)
    return total


def test_precisions_are_those_worked_by_hand():
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.8, 0.2, 0.5], [0.7, 0.3, 0.5], [0.6, 0.4, 0.5]])
    labels = torch.tensor([[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]]).bool()
    # Places 1 and 3 of 4; no image of class 1; one image of class 2, which is tied with all others.
    assert compute_average_precisions(scores, labels) == {
        0: pytest.approx((1 / 1 + 2 / 3) / 2),
        2: pytest.approx(1 / 4),
    }


def test_precisions_are_sums_over_all_thresholds_with_ties():
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(60, 4, generator=generator) < 0.3
    scores = ((labels * 0.3 + torch.rand(60, 4, generator=generator)) * 8).round()
    expected = [sum_over_thresholds(scores[:, i].tolist(), labels[:, i].tolist()) for i in range(4)]
    assert [*compute_average_precisions(scores, labels).values()] == pytest.approx(expected)


class Sums(nn.Module):
    """Scores each class by the brightness of its row, and the third class at random."""

    def forward(self, images):
        scores = images[:, 0, 1:6:2].mean(dim=2)
        scores[:, 2] = torch.arange(len(images)) % 3
        return scores


def test_the_mean_counts_all_shown_classes_equally(subject, make_cell, scattered):
    images, labels = draw_scattered(24)
    labels[:, 1] = False
    rows = AveragePrecision()(subject(make_cell(dataset=scattered), Sums(), images, labels))
    third = sum_over_thresholds((torch.arange(24) % 3).tolist(), labels[:, 2].tolist())
    assert {(row.metric, row.condition): row.value for row in rows} == {
        ("mean average precision", "test"): pytest.approx((1 + third) / 2),
        ("mean average precision", "validation"): pytest.approx((1 + third) / 2),
        ("average precision", "class 0"): pytest.approx(1),
        ("average precision", "class 2"): pytest.approx(third),
    }


def test_images_of_no_class_at_all_have_no_number(subject, make_cell, scattered):
    images, labels = draw_scattered(8)
    assert AveragePrecision()(subject(make_cell(dataset=scattered), Sums(), images, labels & False)) == []


@pytest.mark.parametrize("dataset", ["digits", "multimnist"])
def test_it_applies_to_images_of_any_number_of_classes(make_cell, scattered, dataset):
    assert AveragePrecision.applies_to(make_cell(dataset=scattered))
    assert not AveragePrecision.applies_to(make_cell(dataset=dataset))


def test_all_measures_of_such_a_cell_can_be_taken(subject, make_cell, scattered):
    cell = make_cell(dataset=scattered)
    images, labels = draw_scattered(8)
    torch.manual_seed(0)
    network = build_network(cell)
    assert {"accuracy", "average-precision", "cost"} <= {*measures_of(cell, ("all",))}
    assert 0 <= AveragePrecision()(subject(cell, network, images, labels))[0].value <= 1
