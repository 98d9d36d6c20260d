"""The training and validation of a network that makes its own targets."""

import pytest
import torch
from torch import nn

from capsbench.data.images import Augmentation, Images, Splits
from capsbench.errors import TrainingFailed
from capsbench.networks.base import SelfSupervised
from capsbench.training.loop import compute_validation_loss, list_augmentations, train


class Raised(Augmentation):
    """Makes the targets: each image plus its own number."""

    draws = 1

    def __call__(self, batch, drawn, train):
        return batch._replace(targets=batch.images + drawn[:, :, None, None])


class Constant(SelfSupervised):
    """Guesses by how much targets exceed their images, and notes the sizes of its batches in evaluation mode."""

    def __init__(self, guess=0.0):
        super().__init__()
        self.guess, self.evaluated = nn.Parameter(torch.tensor(guess)), []

    def augmentations(self):
        return (Raised(),)

    def objective(self, batch):
        if not self.training:
            self.evaluated.append(len(batch.labels))
        return (batch.targets - batch.images - self.guess).square().sum(dim=(1, 2, 3)).mean()


@pytest.fixture
def images():
    return Images(torch.zeros(5, 1, 1, 1), torch.zeros(5, dtype=torch.int64))


def test_its_augmentation_comes_after_those_of_the_data_set_and_of_the_cell(make_cell, images):
    of_data = Raised()
    data = Splits(images, images, images, augmentations=(of_data,))
    augmentations = list_augmentations(make_cell(shift=1, warp="affnist"), Constant(), data)
    assert augmentations[0] is of_data
    assert [type(augmentation).__name__ for augmentation in augmentations] == ["Raised", "Shift", "Warp", "Raised"]
    classifier = list_augmentations(make_cell(shift=0), nn.Flatten(), data)
    assert classifier == (of_data,)


def test_its_validation_loss_is_the_mean_over_images_with_the_same_targets_each_time(make_cell, images):
    network = Constant(guess=0.25).train()
    drawn = torch.rand(5, 1, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        loss = compute_validation_loss(make_cell(batch=2), network, images)
        assert loss == pytest.approx(float((drawn - 0.25).square().mean()))
    assert network.evaluated == [2, 2, 1] * 2


def test_a_validation_loss_that_is_not_finite_is_a_failure(make_cell, images):
    with pytest.raises(TrainingFailed) as caught:
        compute_validation_loss(make_cell(), Constant(guess=torch.inf), images)
    assert "validation loss" in str(caught.value)


def test_its_history_has_validation_losses_and_a_patience_keeps_the_lowest(make_cell, images):
    data = Splits(images, images, images)
    network = Constant(guess=1.0)
    cell = make_cell(optimizer="sgd", lr=0.1, schedule="constant", shift=0, epochs=3, batch=5, patience=3)
    history = train(cell, network, data)
    losses = [epoch["validation_loss"] for epoch in history]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * losses[0]
    assert compute_validation_loss(cell, network, images) == losses[-1]
    assert not any("validation_accuracy" in epoch for epoch in history)
