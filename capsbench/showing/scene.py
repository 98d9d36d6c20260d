"""What there is to draw of a cell: its network, and the test images that it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from capsbench import registry
from capsbench.data.base import load_splits
from capsbench.data.digest import digest_parts, join_digests
from capsbench.data.draws import draw_stratified
from capsbench.errors import FOREIGN, Kind, UsageError, message_of
from capsbench.networks.base import CapsuleNetwork, SelfSupervised
from capsbench.networks.build import build_network, parameter_dtype
from capsbench.planning.edits import UNDO, describe_edits, find_edits
from capsbench.records.cell import DATA, Cell
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.training.evaluate import compute_scores, match_labels, predict_classes
from capsbench.training.losses import log_probabilities
from capsbench.training.step import use_precision

SEED = 0
"""Draws the images that are shown: the same ones of every network."""

SEARCHED = 1000
"""Test images, a stratified draw, among which images are looked for that the network gets wrong."""

WRONG = 5
"""Misclassified images at most, unless images are named."""


class DoesNotApplyError(Exception):
    """A picture that a network has nothing for; the message says why."""


@dataclass(frozen=True)
class Scene:
    """A trained network and test images.

    Attributes:
        cell: as it is on record, but for the device where that is not here.
        network: in evaluation mode.
        images, labels: all test images ``[N, C, H, W]`` and their labels ``[N]`` or ``[N, K]``.
        shown: indices of the images to draw.
        wrong: indices of misclassified images to draw beside them.
        drawn: indices of a stratified draw, for means over images.
    """

    cell: Cell
    network: nn.Module
    images: Tensor
    labels: Tensor
    shown: list[int]
    wrong: list[int]
    drawn: list[int]

    def scores(self, images: Tensor) -> Tensor:
        """Of images the activations of the class capsules, or a CNN's probabilities, ``[N, classes]``."""
        scores = compute_scores(self.cell, self.network, images)
        return scores if self.cell.has_routing else log_probabilities(scores, capsules=False).exp()

    def predicted(self, images: Tensor) -> Tensor:
        """The predicted classes ``[N, K]``, K being how many an image shows, in ascending order."""
        return predicted_of(self.cell, self.network, images, self.labels[: len(images)])

    @torch.no_grad()
    def poses(self, images: Tensor) -> Tensor:
        """The class poses ``[N, classes, R, E]``; raises DoesNotApplyError where the network has no decoder that reads them."""
        self.decoder  # noqa: B018
        assert isinstance(self.network, CapsuleNetwork)
        with use_precision(self.cell):
            return torch.cat([self.network.capsules(part).poses for part in images.split(self.cell.batch_size)])

    @property
    def decoder(self) -> nn.Module:
        """The decoder; raises DoesNotApplyError where there is none."""
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
    def decoded(self, poses: Tensor, classes: Tensor) -> Tensor:
        """What the decoder makes of class poses ``[N, classes, R, E]`` when all are masked but one each ``[N]``."""
        with use_precision(self.cell):
            images: Tensor = self.decoder(poses, classes)
        return images.to(self.images.dtype)

    def require_classes(self) -> None:
        """Raises DoesNotApplyError for a network that predicts none."""
        if isinstance(self.network, SelfSupervised):
            raise DoesNotApplyError("the network predicts no classes: it is trained to make images")

    def tones(self, images: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Black and white of images ``[N, C, H, W]``: 0 and 1, or of standardised ones their own least and greatest values."""
        if not registry.get("dataset", self.cell.dataset).standardised:
            return 0.0, 1.0
        return images.amin(dim=(1, 2, 3), keepdim=True), images.amax(dim=(1, 2, 3), keepdim=True)

    @property
    def about_tones(self) -> str:
        """A sentence on what of the images is not as a person would see it, with a space before it."""
        said = ""
        if registry.get("dataset", self.cell.dataset).standardised:
            said += " Pixels are standardised: each image and what belongs to it has its own black and white."
        if self.images.shape[1] == 2:
            said += " Of the stereo pair the first image is shown."
        return said


def scene_of(
    record: Record, store: Store, folder: Path, *, count: int, index: Sequence[int] | None, retrain: str
) -> Scene:
    """The network of a cell with its weights, and the test images of its data set.

    Args:
        folder: the data folder.
        count: images to show, a draw that holds as many of each class.
        index: the test images to show, rather than a draw.
        retrain: what to say to one who has no weights.

    Raises:
        UsageError: no weights, no data, or an index that is none.
    """
    cell = record.cell
    named = f"{cell.id}, {cell.title}"
    if not store.has_weights(record):
        raise UsageError(
            Kind.MISSING, f"its weights are not on record in {store.folder}", flag="CELL", value=named, expected=retrain
        )
    if cell.device.startswith("cuda") and not torch.cuda.is_available():
        cell = cell.model_copy(update={"device": "cpu", "backend": "auto"})
    if edited := find_edits(cell, record.training.sources if record.training else {}):
        raise UsageError(Kind.CONFLICT, describe_edits(edited), flag="CELL", value=named, expected=UNDO)
    try:
        network = build_network(cell)
    except UsageError:
        raise
    except FOREIGN as error:  # the record was made by hand, or a part of one's own may raise anything
        problem = f"its network cannot be built: {message_of(error)}"
        raise UsageError(Kind.DAMAGED, problem, flag="CELL", value=named, expected=retrain) from error
    try:
        network.load_state_dict(store.read_weights(record))
    except (UsageError, RuntimeError) as error:
        reason = error.problem if isinstance(error, UsageError) else str(error).partition("\n")[0]
        weights = store.weights_of(record)
        raise UsageError(
            Kind.DAMAGED, f"not the weights of {cell.title}: {reason}", file=weights, expected=retrain
        ) from error
    network.eval()
    splits = load_splits(cell.dataset, folder)
    if DATA in cell.code and cell.code[DATA] != join_digests(digest_parts(splits)):
        problem = f"{cell.dataset} gives other images or labels than it was trained with"
        raise UsageError(Kind.CONFLICT, problem, flag="CELL", value=named, expected=retrain)
    test = splits.test.to(cell.device, parameter_dtype(cell))
    size = len(test.labels)
    if index is not None:
        bad = [number for number in index if not 0 <= number < size]
        if bad or not index:
            raise UsageError(Kind.INVALID, flag="index", expected=f"test images from 0 to {size - 1}", value=bad)
    if count < 1:
        raise UsageError(Kind.INVALID, flag="images", expected="1 or more", value=count)
    order = draw_stratified(test.labels.cpu(), size, SEED).tolist()
    searched = order[:SEARCHED] if index is None else list(index)
    wrong: list[int] = []
    if not isinstance(network, SelfSupervised):
        found = predicted_of(cell, network, test.images[searched], test.labels[searched])
        labels = test.labels[searched].view(len(searched), -1)
        wrong = [
            number for number, good in zip(searched, match_labels(found, labels).tolist(), strict=True) if not good
        ]
    if index is None:  # what is drawn as misclassified is not drawn twice
        rest = [number for number in searched if number not in wrong] or searched
        shown, wrong = _of_each_class(rest, test.labels)[:count], wrong[: min(WRONG, count)]
    else:
        shown = searched
    return Scene(cell, network, test.images, test.labels, shown, wrong, order)


def _of_each_class(numbers: list[int], labels: Tensor) -> list[int]:
    """Images in such an order that there is one of each class, by class, then a second of each, and so on."""
    seen: dict[int, int] = {}
    places = []
    for number in numbers:
        label = int(labels[number].view(-1)[0])
        seen[label] = seen.get(label, 0) + 1
        places.append((seen[label], label, number))
    return [number for _, _, number in sorted(places)]


def predicted_of(cell: Cell, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The predicted classes ``[N, K]`` of images, of which one has as many as one of the labels, in ascending order."""
    return predict_classes(compute_scores(cell, network, images), labels).view(len(images), -1)
