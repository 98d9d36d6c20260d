"""Tests of the losses against numbers computed by hand."""

import math

import pytest
import torch

from capsbench.errors import ArgumentError
from capsbench.training.losses import CrossEntropy, MarginLoss, SigmoidLoss, SpreadLoss, log_probabilities, make_loss


def test_margin_loss_of_two_images():
    scores = torch.tensor([[0.8, 0.3, 0.05], [0.5, 0.2, 0.95]])
    first = (0.9 - 0.8) ** 2 + 0.5 * (0.3 - 0.1) ** 2  # the third class is below 0.1 and costs nothing
    second = (0.9 - 0.2) ** 2 + 0.5 * ((0.5 - 0.1) ** 2 + (0.95 - 0.1) ** 2)
    loss = MarginLoss(capsules=True)(scores, torch.tensor([0, 1]), 0.3)
    assert loss.item() == pytest.approx((first + second) / 2)


def test_margin_loss_is_zero_beyond_both_margins():
    assert MarginLoss(capsules=True)(torch.tensor([[0.95, 0.05]]), torch.tensor([0]), 0.0) == 0


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (0.0, (0.2 - 0.1) ** 2),  # a margin of 0.2 leaves the third class out
        (0.5, (0.55 - 0.1) ** 2 + (0.55 - 0.4) ** 2),
        (1.0, (0.9 - 0.1) ** 2 + (0.9 - 0.4) ** 2),
    ],
)
def test_spread_loss_widens_its_margin_with_the_training(progress, expected):
    scores = torch.tensor([[0.5, 0.4, 0.1], [1.0, 0.0, 0.0]])
    loss = SpreadLoss(capsules=True)(scores, torch.tensor([0, 0]), progress)
    assert loss.item() == pytest.approx(expected / 2)


def test_cross_entropy_of_capsules_is_of_the_activations_over_their_sum():
    scores = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.4]])
    loss = CrossEntropy(capsules=True)(scores, torch.tensor([1, 2]), 0.0)
    assert loss.item() == pytest.approx(-(math.log(0.3) + math.log(0.5)) / 2)


def test_cross_entropy_of_a_cnn_is_of_the_softmax_of_its_logits():
    scores = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])
    loss = CrossEntropy(capsules=False)(scores, torch.tensor([0, 0]), 0.0)
    assert loss.item() == pytest.approx((math.log(4.0) - math.log(0.8)) / 2)


@pytest.mark.parametrize("capsules", [True, False])
def test_probabilities_sum_to_1(capsules):
    scores = torch.rand(6, 10, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_probabilities(scores, capsules).exp().sum(dim=1), torch.ones(6))


def test_capsules_that_are_all_inactive_are_equally_probable():
    torch.testing.assert_close(log_probabilities(torch.zeros(1, 4), capsules=True), torch.full((1, 4), -math.log(4)))


@pytest.mark.parametrize("loss", [MarginLoss, SpreadLoss, CrossEntropy])
@pytest.mark.parametrize("activation", [0.0, 1e-30, 0.5, 1.0])
def test_values_and_gradients_are_finite_for_capsules_of_any_activation(loss, activation):
    scores = torch.full((2, 10), activation, requires_grad=True)
    value = loss(capsules=True)(scores, torch.tensor([0, 9]), 1.0)
    value.backward()
    assert value.isfinite()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("loss", [MarginLoss, SpreadLoss, CrossEntropy])
def test_a_step_down_the_gradient_raises_the_true_class(loss):
    scores = torch.full((1, 3), 0.4, requires_grad=True)
    loss(capsules=True)(scores, torch.tensor([1]), 0.5).backward()
    assert scores.grad[0, 1] < 0
    assert scores.grad[0, [0, 2]].min() > 0


# Images of several objects


def test_the_margin_loss_of_two_objects_by_hand():
    scores = torch.tensor([[0.8, 0.3, 0.4]])
    expected = (0.9 - 0.8) ** 2 + (0.9 - 0.4) ** 2 + 0.5 * (0.3 - 0.1) ** 2
    assert MarginLoss(True)(scores, torch.tensor([[2, 0]]), 0.5).item() == pytest.approx(expected)


def test_the_spread_loss_of_two_objects_is_their_mean_over_the_classes_not_shown():
    scores = torch.tensor([[0.6, 0.3, 0.5]])
    expected = ((0.55 - 0.3) ** 2 + (0.55 - 0.2) ** 2) / 2  # the margin is 0.55 halfway
    assert SpreadLoss(True)(scores, torch.tensor([[0, 2]]), 0.5).item() == pytest.approx(expected)


def test_the_cross_entropy_of_two_objects_is_the_mean_of_both():
    logits = torch.tensor([[1.0, 2.0, -1.0]])
    logs = logits.log_softmax(dim=1)[0]
    expected = -(logs[1] + logs[2]) / 2
    assert CrossEntropy(False)(logits, torch.tensor([[1, 2]]), 0.5).item() == pytest.approx(expected.item())


# Options


def test_the_margins_and_weights_of_the_margin_loss_are_options():
    loss = MarginLoss(True, present=0.8, absent=0.2, down_weight=0.25, scale=0.05)
    expected = 0.05 * ((0.8 - 0.5) ** 2 + 0.25 * (0.6 - 0.2) ** 2)
    assert loss(torch.tensor([[0.5, 0.6]]), torch.tensor([0]), 0.5).item() == pytest.approx(expected)


@pytest.mark.parametrize(("growth", "start", "end"), [("linear", 0.2, 0.9), ("sigmoid", 0.2142, 0.9900)])
def test_the_spread_margin_grows_from_its_start_to_its_end(growth, start, end):
    loss = SpreadLoss(True, growth=growth)
    margins = [float(loss.compute_margin(progress / 10)) for progress in range(11)]
    assert margins == sorted(margins)
    assert margins[0] == pytest.approx(start, abs=1e-3)
    assert margins[-1] == pytest.approx(end, abs=1e-3)


@pytest.mark.parametrize(("progress", "s"), [(0.0, -4.0), (0.25, -0.5), (0.5, 3.0), (1.0, 10.0)])
def test_the_sigmoid_margin_is_that_of_the_authors_steps(progress, s):
    margin = SpreadLoss(True, growth="sigmoid").compute_margin(progress)
    assert float(margin) == pytest.approx(0.2 + 0.79 / (1 + math.exp(-s)))


def test_a_cell_builds_its_loss_with_its_options(make_cell):
    loss = make_loss(make_cell(loss="margin", scale=0.05))
    assert (loss.present, loss.absent, loss.down_weight, loss.scale) == (0.9, 0.1, 0.5, 0.05)
    assert loss.capsules
    assert not make_loss(make_cell(network="resnet", loss="cross-entropy")).capsules


def test_an_unknown_growth_is_refused():
    with pytest.raises(ArgumentError) as caught:
        SpreadLoss(True, growth="cubic")
    assert (caught.value.argument, caught.value.value) == ("growth", "cubic")
    assert caught.value.expected == "linear or sigmoid"


MASKS = torch.tensor([[True, False, True], [False, False, False]])  # two classes, and none


def test_margin_loss_of_any_number_of_classes():
    scores = torch.tensor([[0.8, 0.3, 0.95], [0.05, 0.2, 0.6]])
    first = (0.9 - 0.8) ** 2 + 0.5 * (0.3 - 0.1) ** 2
    second = 0.5 * ((0.2 - 0.1) ** 2 + (0.6 - 0.1) ** 2)
    assert MarginLoss(capsules=True)(scores, MASKS, 0.0).item() == pytest.approx((first + second) / 2)


def test_sigmoid_loss_of_activations_is_the_likelihood_of_each_class_by_itself():
    scores = torch.tensor([[0.8, 0.3, 0.5], [0.1, 0.2, 0.4]])
    first = math.log(0.8) + math.log(1 - 0.3) + math.log(0.5)
    second = math.log(1 - 0.1) + math.log(1 - 0.2) + math.log(1 - 0.4)
    assert SigmoidLoss(capsules=True)(scores, MASKS, 0.0).item() == pytest.approx(-(first + second) / 2)


def test_sigmoid_loss_of_logits_is_that_of_their_sigmoid():
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, -3.0, 1.0]], requires_grad=True)
    loss = SigmoidLoss(capsules=False)(logits, MASKS, 0.0)
    torch.testing.assert_close(loss, SigmoidLoss(capsules=True)(logits.sigmoid(), MASKS, 0.0))
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, (logits.sigmoid() - MASKS.float()).detach() / 2)  # the closed form


def test_sigmoid_loss_of_saturated_activations_in_half_precision_is_finite():
    scores = torch.tensor([[0.0, 1.0, 1.0], [1.001, 0.0, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = SigmoidLoss(capsules=True)(scores, MASKS, 0.0)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_a_single_label_is_a_mask_of_one_class():
    scores = torch.tensor([[0.8, 0.3, 0.5]])
    for loss in (MarginLoss(capsules=True), SigmoidLoss(capsules=True)):
        assert loss(scores, torch.tensor([2]), 0.0) == loss(scores, torch.tensor([[False, False, True]]), 0.0)
