"""A scene: the trained network of a cell, and the test images to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from capsbench.data.base import load_splits
from capsbench.data.draws import draw_stratified, find_strata
from capsbench.errors import Kind, UsageError
from capsbench.networks.base import CapsuleNetwork, SelfSupervised
from capsbench.networks.build import parameter_dtype
from capsbench.predicting.load import check_same_data, load_network
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.training.evaluate import compute_scores, match_labels, predict_classes
from capsbench.training.losses import compute_presence, log_probabilities
from capsbench.training.step import use_precision

SEED = 0
"""The seed of the draw of images, so that all networks get the same images."""

SEARCHED = 1000
"""Number of test images, a stratified draw, that are searched for misclassified ones."""

MOST_MISCLASSIFIED = 5
"""The most misclassified images that are added to a draw."""


class DoesNotApplyError(Exception):
    """A picture does not apply to a network; the message says why."""


@dataclass(frozen=True)
class Scene:
    """A trained network and test images.

    Attributes:
        cell: as on record; on the CPU if it was trained on a GPU and there is none.
        network: in evaluation mode.
        images, labels: all test images ``[N, C, H, W]`` and their labels ``[N]``, ``[N, K]`` or, bool, ``[N, classes]``.
        selected: indices of the images to draw.
        misclassified: indices of misclassified images to draw in addition.
        sample: all indices, in the order of a stratified draw, for means over images.
    """

    cell: Cell
    network: nn.Module
    images: Tensor
    labels: Tensor
    selected: list[int]
    misclassified: list[int]
    sample: list[int]

    def score_images(self, images: Tensor) -> Tensor:
        """Returns the activations of the class capsules, or a CNN's probabilities, ``[N, classes]``."""
        scores = compute_scores(self.cell, self.network, images)
        if self.has_any_number:
            return compute_presence(scores, capsules=self.cell.has_routing)
        return scores if self.cell.has_routing else log_probabilities(scores, capsules=False).exp()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, or their numbers."""
        return dataset_of(self.cell).name_classes()

    @property
    def has_any_number(self) -> bool:
        """True if images show any number of classes, each by itself."""
        return self.labels.dtype == torch.bool

    def predict_labels(self, images: Tensor) -> Tensor:
        """Returns the predicted classes ``[N, K]`` in ascending order, K objects in an image, or a mask ``[N, classes]``."""
        return predict_labels(self.cell, self.network, images, self.labels[: len(images)])

    def find_winners(self, images: Tensor) -> Tensor:
        """Returns a class ``[N]`` for each image: the first predicted one; of any number, that of the highest score."""
        if self.has_any_number:
            return self.score_images(images).argmax(dim=1)
        return self.predict_labels(images)[:, 0]

    @torch.no_grad()
    def compute_poses(self, images: Tensor) -> Tensor:
        """Returns the class poses ``[N, classes, R, E]``; raises DoesNotApplyError if no decoder reads them."""
        self.decoder  # noqa: B018
        assert isinstance(self.network, CapsuleNetwork)
        with use_precision(self.cell):
            return torch.cat([self.network.capsules(batch).poses for batch in images.split(self.cell.batch_size)])

    @property
    def decoder(self) -> nn.Module:
        """The decoder; raises DoesNotApplyError if the network has none."""
        if isinstance(self.network, SelfSupervised):
            raise DoesNotApplyError("the network has no class capsules: it is trained to make images, not on classes")
        if not self.cell.has_routing:
            raise DoesNotApplyError("a CNN has no capsules and no decoder")
        if not isinstance(self.network, CapsuleNetwork) or self.network.decoder is None:
            raise DoesNotApplyError(
                "the network was trained without a decoder; `capsbench run --reconstruction yes` trains one"
            )
        return self.network.decoder

    @torch.no_grad()
    def decode_poses(self, poses: Tensor, classes: Tensor) -> Tensor:
        """Returns the reconstructions ``[N, C, H, W]`` of class poses, with all capsules masked but some of each image.

        Args:
            poses: ``[N, classes, R, E]``.
            classes: the capsule that is not masked, ``[N]``, or a mask of such, ``[N, classes]``.
        """
        with use_precision(self.cell):
            images: Tensor = self.decoder(poses, classes)
        return images.to(self.images.dtype)

    def require_classes(self) -> None:
        """Raises DoesNotApplyError if the network predicts no classes."""
        if isinstance(self.network, SelfSupervised):
            raise DoesNotApplyError("the network predicts no classes: it is trained to make images")

    def find_tones(self, images: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Returns black and white of images ``[N, C, H, W]``: 0 and 1, or the extremes of each standardised image."""
        if not dataset_of(self.cell).standardised:
            return 0.0, 1.0
        return images.amin(dim=(1, 2, 3), keepdim=True), images.amax(dim=(1, 2, 3), keepdim=True)

    @property
    def tones_note(self) -> str:
        """Sentences of a caption, each after a space, on how the drawn images differ from those of the data set."""
        note = ""
        if dataset_of(self.cell).standardised:
            note += " Pixels are standardised, so each image has its own black and white."
        if self.images.shape[1] == 2:
            note += " Only the first image of each stereo pair is shown."
        return note


def load_scene(
    record: Record, store: Store, folder: Path, *, count: int, index: Sequence[int] | None, retrain: str
) -> Scene:
    """Returns the network of a cell with its weights, and the test images of its data set.

    Args:
        folder: the data folder.
        count: number of images, spread evenly over the classes.
        index: the test images to draw instead.
        retrain: the advice of an error if the weights are missing or damaged.

    Raises:
        UsageError: no weights, no data, other code or data than in training, or no such test image.
    """
    cell, network = load_network(record, store, retrain)
    splits = load_splits(cell.dataset, folder, options=cell.component_options("dataset"))
    check_same_data(record, splits, retrain)
    test = splits.test.to(cell.device, parameter_dtype(cell))
    size = len(test.labels)
    if index is not None:
        unknown = [number for number in index if not 0 <= number < size]
        if unknown or not index:
            raise UsageError(Kind.INVALID, flag="index", expected=f"test images from 0 to {size - 1}", value=unknown)
    if count < 1:
        raise UsageError(Kind.INVALID, flag="images", expected="1 or more", value=count)
    order = draw_stratified(test.labels.cpu(), size, SEED).tolist()
    searched = order[:SEARCHED] if index is None else list(index)
    wrong = _find_misclassified(cell, network, test.images[searched], test.labels[searched], searched)
    if index is None:  # a misclassified image is not drawn twice
        correct = [number for number in searched if number not in wrong] or searched
        interleaved = _interleave_classes(correct, find_strata(test.labels))
        selected, wrong = interleaved[:count], wrong[: min(MOST_MISCLASSIFIED, count)]
    else:
        selected = searched
    return Scene(cell, network, test.images, test.labels, selected, wrong, order)


def _find_misclassified(
    cell: Cell, network: nn.Module, images: Tensor, labels: Tensor, numbers: list[int]
) -> list[int]:
    """Returns those of the images' numbers of which the prediction is wrong; none if the network predicts no classes."""
    if isinstance(network, SelfSupervised):
        return []
    predictions = predict_labels(cell, network, images, labels)
    matches = match_labels(predictions, labels.view(len(labels), -1)).tolist()
    return [number for number, correct in zip(numbers, matches, strict=True) if not correct]


def _interleave_classes(numbers: list[int], labels: Tensor) -> list[int]:
    """Returns images in this order: one of each class ``[N]``, by class, then a second of each, and so on."""
    counts: dict[int, int] = {}
    places = []
    for number in numbers:
        label = int(labels[number])
        counts[label] = counts.get(label, 0) + 1
        places.append((counts[label], label, number))
    return [number for _, _, number in sorted(places)]


def predict_labels(cell: Cell, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Returns the predicted classes ``[N, K]`` in ascending order, or a mask; ``labels`` only sets K and the kind."""
    scores = compute_scores(cell, network, images)
    return predict_classes(scores, labels, capsules=cell.has_routing).view(len(images), -1)
