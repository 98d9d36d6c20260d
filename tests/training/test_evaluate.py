"""Scores, predictions and matches of chosen images and labels."""

import pytest
import torch
from torch import nn

from capsbench.errors import TrainingFailed
from capsbench.training.evaluate import compute_scores, list_classes, match_labels, predict_classes

SCORES = torch.tensor([[0.1, 0.9, 0.8], [0.5, 0.2, 0.4]])


class Noting(nn.Flatten):
    """Notes the sizes of its batches and whether it was in training mode."""

    def forward(self, images):
        self.calls = [*getattr(self, "calls", []), (len(images), self.training)]
        return super().forward(images)


def test_scores_are_those_of_all_images_in_evaluation_mode(make_cell):
    network, images = Noting(), torch.rand(70, 1, 1, 3, requires_grad=True)
    scores = compute_scores(make_cell(batch_size=32), network, images)
    assert torch.equal(scores, images.flatten(1))
    assert not scores.requires_grad
    assert network.calls == [(32, False), (32, False), (6, False)]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_one_score_that_is_not_finite_is_a_failure(make_cell, value):
    images = torch.zeros(3, 1, 1, 2)
    images[2, 0, 0, 1] = value
    with pytest.raises(TrainingFailed):
        compute_scores(make_cell(), nn.Flatten(), images)


def test_the_predicted_class_has_the_highest_score():
    predictions = predict_classes(SCORES, torch.tensor([1, 2]), capsules=True)
    assert predictions.tolist() == [1, 0]
    assert match_labels(predictions, torch.tensor([1, 2])).tolist() == [True, False]


def test_of_several_labels_the_highest_scores_are_predicted_and_all_have_to_be_right():
    labels = torch.tensor([[2, 1], [1, 2]])
    predictions = predict_classes(SCORES, labels, capsules=True)
    assert predictions.tolist() == [[1, 2], [0, 2]]
    assert match_labels(predictions, labels).tolist() == [True, False]


@pytest.mark.parametrize("capsules", [True, False])
def test_of_any_number_of_labels_those_more_likely_present_than_not_are_predicted(capsules):
    scores = SCORES if capsules else SCORES.logit()
    labels = torch.tensor([[False, True, True], [False, False, True]])
    predictions = predict_classes(scores, labels, capsules=capsules)
    assert predictions.tolist() == [[False, True, True], [False, False, False]]  # 0.5 is not above 0.5
    assert match_labels(predictions, labels).tolist() == [True, False]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([2, 0], [[2], [0]]),
        ([[2, 0], [1, 2]], [[0, 2], [1, 2]]),
        ([[True, False, True], [False, False, False]], [[0, 2], []]),
    ],
)
def test_classes_are_listed_from_labels_of_all_kinds(labels, classes):
    assert list_classes(torch.tensor(labels)) == classes
