"""The accuracy measure against scikit-learn, and calibration against a case worked by hand."""

from dataclasses import replace

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, recall_score
from torch import nn

from capsbench.data.images import Images
from capsbench.measures.accuracy.measure import Accuracy, compute_calibration_error
from capsbench.measures.accuracy.spec import SPEC
from capsbench.presenting.marks import counts_of
from capsbench.presenting.paired import nothing_kept
from capsbench.records.artifacts import are_correct
from capsbench.stats.collapse import Counts
from tests.making import make_record


class Lookup(nn.Module):
    """Gives the scores of row i for an image whose pixels are i."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def forward(self, images):
        return self.scores[images[:, 0, 0, 0].long()]


@pytest.fixture
def scored(subject):
    """Makes the subject of given scores and labels."""

    def make(cell, scores, labels, kept=None):
        images = torch.arange(len(labels)).float().reshape(-1, 1, 1, 1)
        return subject(cell, Lookup(scores), images, labels, kept)

    return make


@pytest.fixture(params=["capsules", "logits"])
def example(request, make_cell):
    """A cell, 300 scores of its kind, their probabilities, and labels that are mostly right."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 10
    scores = torch.randn(300, 10, generator=generator)
    scores[torch.arange(300), labels] += 2.0
    if request.param == "logits":
        return make_cell(network="cnn-hinton2018"), scores, scores.double().softmax(dim=1), labels
    scores = scores.sigmoid()
    return make_cell(), scores, scores.double() / scores.double().sum(dim=1, keepdim=True), labels


def test_numbers_are_those_of_scikit_learn(scored, example):
    cell, scores, probabilities, labels = example
    rows = Accuracy()(scored(cell, scores, labels))
    values = {(row.metric, row.condition): row.value for row in rows}
    accuracy = accuracy_score(labels, scores.argmax(dim=1))
    assert 0.3 < accuracy < 0.95
    assert values.pop(("accuracy", "test")) == pytest.approx(accuracy)
    assert values.pop(("error", "test")) == pytest.approx(1 - accuracy)
    assert values.pop(("accuracy", "validation")) == pytest.approx(accuracy)
    assert values.pop(("nll", "test")) == pytest.approx(log_loss(labels, probabilities.numpy()))
    assert values.pop(("calibration error", "test")) == pytest.approx(compute_calibration_error(probabilities, labels))
    assert values.pop(("balanced accuracy", "test")) == pytest.approx(
        balanced_accuracy_score(labels, scores.argmax(dim=1))
    )
    most = scores.argmax(dim=1).bincount().max().item()
    assert values.pop(("largest predicted share", "test")) == pytest.approx(most / 300)
    assert values.pop(("majority share", "test")) == pytest.approx(0.1)
    assert values.pop(("images", "test")) == 300
    recalls = recall_score(labels, scores.argmax(dim=1), average=None)
    assert values == {("accuracy", f"class {label}"): pytest.approx(recall) for label, recall in enumerate(recalls)}
    assert {row.measure for row in rows} == {"accuracy"}


def test_a_network_that_says_the_majoritys_class_is_seen_through(scored, make_cell):
    labels = torch.tensor([0] * 90 + [1] * 10)
    made = scored(make_cell(), torch.tensor([[0.9, 0.1]]).expand(100, 2), labels)
    rows = {row.metric: row for row in Accuracy()(made) if row.condition == "test"}
    assert rows["accuracy"].value == pytest.approx(0.9)
    assert rows["balanced accuracy"].value == 0.5
    assert rows["largest predicted share"].value == 1.0
    assert rows["majority share"].value == 0.9
    record = make_record(made.cell, rows.values())
    assert counts_of(record, nothing_kept) == Counts(images=100, predicted=100, labelled=90, right=90)


def test_images_of_several_labels_have_no_shares(scored, make_cell):
    rows = Accuracy()(scored(make_cell(), torch.rand(30, 10), torch.tensor([[0, 1]] * 30)))
    assert {row.metric for row in rows} == {"accuracy", "error", "nll"}


def test_each_metric_is_declared_with_its_unit(scored, example):
    cell, scores, _, labels = example
    units = {row.metric: row.unit for row in Accuracy()(scored(cell, scores, labels))}
    assert units == {metric.name: metric.unit for metric in SPEC.metrics}


def test_label_prediction_and_nll_of_every_image_are_kept(scored, example):
    cell, scores, probabilities, labels = example
    kept = {}
    Accuracy()(scored(cell, scores, labels, kept))
    assert list(kept) == ["label", "prediction", "nll"]
    assert kept["label"].tolist() == labels.tolist()
    assert kept["prediction"].tolist() == scores.argmax(dim=1).tolist()
    torch.testing.assert_close(kept["nll"].double(), -probabilities[torch.arange(300), labels].log())


def test_validation_and_test_are_not_mixed_up(scored, make_cell):
    made = scored(make_cell(), torch.eye(2), torch.tensor([0, 1]))
    wrong = Images(made.data.test.images, torch.tensor([1, 0]))
    rows = Accuracy()(replace(made, data=replace(made.data, validation=wrong)))
    values = {(row.metric, row.condition): row.value for row in rows}
    assert values["accuracy", "test"] == 1.0
    assert values["accuracy", "validation"] == 0.0


def test_a_class_without_test_images_has_no_row(scored, make_cell):
    rows = Accuracy()(scored(make_cell(), torch.eye(3)[:2], torch.tensor([0, 1])))
    assert [row.condition for row in rows if row.condition.startswith("class")] == ["class 0", "class 1"]


def test_capsules_that_are_all_inactive_leave_no_nan(scored, make_cell):
    rows = Accuracy()(scored(make_cell(), torch.zeros(4, 10), torch.arange(4)))
    assert all(torch.tensor(row.value).isfinite() for row in rows)


def test_calibration_error_is_the_mean_gap_of_confidence_and_accuracy():
    probabilities = torch.tensor([[0.50, 0.25, 0.25], [0.25, 0.55, 0.20], [0.05, 0.05, 0.90], [1.00, 0.00, 0.00]])
    labels = torch.tensor([0, 1, 2, 1])  # confidence 0.4 to 0.6: right, right; 0.8 to 1: right, wrong
    lower, upper = 2 / 2 - (0.50 + 0.55) / 2, (0.90 + 1.00) / 2 - 1 / 2
    assert compute_calibration_error(probabilities, labels, bins=5) == pytest.approx((2 * lower + 2 * upper) / 4)


def test_a_network_that_is_sure_and_right_is_calibrated():
    assert compute_calibration_error(torch.eye(4), torch.arange(4)) == 0.0


@pytest.mark.parametrize("network", ["capsnet", "cnn-hinton2018"])
def test_of_any_number_of_classes_the_accuracy_is_the_exact_match(scored, make_cell, scattered, network):
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(200, 3, generator=generator) < 0.4
    present = labels * 0.4 + 0.55 * torch.rand(200, 3, generator=generator)
    cell, kept = make_cell(dataset=scattered, network=network), {}
    rows = Accuracy()(scored(cell, present if cell.has_routing else present.logit(), labels, kept))
    exact = accuracy_score(labels, present > 0.5)  # of masks, scikit-learn's is the exact match
    assert 0.2 < exact < 0.95
    assert {(row.metric, row.condition): row.value for row in rows} == {
        ("accuracy", "test"): pytest.approx(exact),
        ("error", "test"): pytest.approx(1 - exact),
        ("images", "test"): 200,
        ("accuracy", "validation"): pytest.approx(exact),
    }
    assert are_correct(kept["prediction"].numpy(), kept["label"].numpy()).mean() == pytest.approx(exact)
    assert (
        counts_of(make_record(cell, rows), lambda measure, cell: {name: t.numpy() for name, t in kept.items()}) is None
    )
