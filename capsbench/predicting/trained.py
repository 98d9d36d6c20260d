"""A trained network with its preprocessing, and what it predicts of an image."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from capsbench.data.base import Dataset
from capsbench.data.images import ANY_NUMBER, ImageShape
from capsbench.errors import Kind, TrainingFailed, UsageError
from capsbench.networks.base import CapsuleNetwork, SelfSupervised
from capsbench.networks.build import parameter_dtype
from capsbench.predicting.pixels import FLAG, draw_pixels, read_pixels
from capsbench.presenting.notebook import Displayed, Grid, Output
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.training.evaluate import THRESHOLD
from capsbench.training.losses import log_probabilities

SCORES, RECONSTRUCTIONS, MADE_IMAGES = "scores", "reconstructions", "made_images"
"""The names of a network's outputs. Networks that make images rather than classify have `MADE_IMAGES` alone."""


MOST_SCORES = 5
"""The classes of a prediction that a notebook shows."""


MOST_NAMES = 10
"""The names of classes that a notebook shows of a network."""


class ScoreKind(StrEnum):
    """The meaning of the scores of classes."""

    ACTIVATION = "activation"
    """The activation of a class capsule, from 0 to 1: its length, or the probability that its entity is present by the routing's
    own model. Activations of exclusive classes need not add up to 1, so they are no probabilities of classes."""

    PROBABILITY = "probability"
    """The softmax of a CNN's logits. Scores add up to 1; training by cross-entropy does not make them calibrated."""

    PRESENCE = "presence"
    """The sigmoid of a CNN's logits, where images show any number of classes: the probability of each class by itself."""

    @property
    def meaning(self) -> str:
        """A clause for people."""
        if self is ScoreKind.PRESENCE:
            return "probabilities of each class by itself, the sigmoid of its logit; not calibrated"
        if self is ScoreKind.ACTIVATION:
            return "activations of the class capsules, from 0 to 1; no probabilities: they need not add up to 1"
        return "probabilities, the softmax of the logits; not calibrated"


@dataclass(frozen=True)
class Prediction(Displayed):
    """The prediction of a network for one image.

    Attributes:
        classes: the names of all classes, best first; numbers if the data set names none.
        scores: their scores, in the same order.
        numbers: their numbers, in the same order.
        count: the number of predicted classes, 1 unless images of the data set show several objects. If they show any number of
            classes, those with a score above `capsbench.training.evaluate.THRESHOLD` are predicted, perhaps none.
        kind: the meaning of the scores.
        image: the image as the network sees it, ``[C, H, W]``.
        reconstructions: of each predicted class, decoded from its capsule alone, ``[count, C, H, W]``; if images show any number
            of classes, one from the capsules of all predicted classes together, ``[1, C, H, W]``; None without a decoder.
    """

    classes: tuple[str, ...]
    scores: tuple[float, ...]
    numbers: tuple[int, ...]
    count: int
    kind: ScoreKind
    image: Tensor
    reconstructions: Tensor | None

    @property
    def label(self) -> str:
        """The predicted class; several are joined by a space. Empty for none."""
        return " ".join(self.labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """The predicted classes, best first."""
        return self.classes[: self.count]

    @property
    def reconstruction(self) -> Tensor | None:
        """The first of `reconstructions` ``[C, H, W]``, of the best of several classes; None without a decoder."""
        return None if self.reconstructions is None else self.reconstructions[0]

    def describe_output(self) -> Output:
        """Returns the predicted class, the best scores, the image and its reconstruction."""
        images = (
            {"image": self.image}
            if self.reconstruction is None
            else {"image": self.image, "reconstruction": self.reconstruction}
        )
        rows = [[name, f"{score:.3f}"] for name, score in zip(self.classes, self.scores, strict=True)][:MOST_SCORES]
        return Output(
            f"Predicted: {self.label or 'no class'}",
            tables=[Grid(["class", str(self.kind)], rows, [False, True])],
            shots=[draw_pixels(name, image) for name, image in images.items()],
            notes=[f"Scores are {self.kind.meaning}."],
        )

    def __repr__(self) -> str:
        best = ", ".join(f"{name}: {score:.3g}" for name, score in zip(self.classes[:3], self.scores, strict=False))
        return f"Prediction({self.label!r}, {self.kind}s {{{best}{', ...' if len(self.classes) > 3 else ''}}})"


class TrainedNetwork(nn.Module, Displayed):
    """A trained network in evaluation mode, which takes images of any kind.

    Call it like the network itself, with prepared images ``[N, C, H, W]``. `predict` prepares images and names classes.

    Args:
        cell: the cell as on record.
        title: its title among the cells on record.
        network: the network with its weights.
        dataset: its data set, if that is not here by the name in the cell.

    Attributes:
        network: the network itself.
        dataset: its data set.
        classes: the names of the classes, or their numbers.
    """

    def __init__(self, cell: Cell, title: str, network: nn.Module, dataset: Dataset | None = None) -> None:
        super().__init__()
        self.cell, self.title = cell, title
        self.network = network
        self.dataset: Dataset = dataset or dataset_of(cell)
        self.classes = self.dataset.name_classes()
        self.eval()

    @property
    def image(self) -> ImageShape:
        """Channels, height and width of a prepared image."""
        return ImageShape(*self.dataset.image)

    @property
    def device(self) -> torch.device:
        """The device of the weights; `to` moves them."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of a prepared image's pixels."""
        return parameter_dtype(self.cell)

    @property
    def kind(self) -> ScoreKind:
        """The meaning of the scores."""
        if self.cell.has_routing:
            return ScoreKind.ACTIVATION
        return ScoreKind.PRESENCE if self.has_any_number else ScoreKind.PROBABILITY

    @property
    def has_any_number(self) -> bool:
        """True if images of the data set show any number of classes, which are predicted independently."""
        return self.dataset.labels_an_image == ANY_NUMBER

    @property
    def has_decoder(self) -> bool:
        """True if a decoder reconstructs images from class capsules."""
        return isinstance(self.network, CapsuleNetwork) and self.network.decoder is not None

    @property
    def classifies(self) -> bool:
        """False for a network that is trained to make images, not on classes."""
        return not isinstance(self.network, SelfSupervised)

    def forward(self, images: Tensor) -> Tensor:
        """Maps prepared images ``[N, C, H, W]`` to class activations or a CNN's logits ``[N, classes]``, as in training."""
        with self._use_precision(images):
            scores: Tensor = self.network(images)
        return scores

    def _use_precision(self, images: Tensor) -> AbstractContextManager[None]:
        """Returns a context with the precision of the training, on the device of the images."""
        if self.cell.precision != "bfloat16":
            return nullcontext()  # an exported program has no context then
        return torch.autocast(images.device.type, torch.bfloat16)

    def compute_outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Maps prepared images ``[N, C, H, W]`` to outputs by name.

        - `SCORES` ``[N, classes]``, see `ScoreKind`
        - `RECONSTRUCTIONS` ``[N, count, C, H, W]``, with a decoder: of each predicted class, from its capsule alone; the others
          are masked by zeros, as in training. If images show any number of classes, ``[N, 1, C, H, W]``: from the capsules of all
          predicted classes together
        - `MADE_IMAGES` ``[N, C, H, W]`` alone, of a network that makes images
        """
        if not self.classifies:
            return {MADE_IMAGES: self(images)}
        if not isinstance(self.network, CapsuleNetwork) or self.network.decoder is None:
            return {SCORES: self._normalise_scores(self(images))}
        with self._use_precision(images):
            poses, scores = self.network.capsules(images)
            if type(self.network).forward is not CapsuleNetwork.forward:  # its scores may be others
                scores = self.network(images)
            count = self.dataset.labels_an_image
            if self.has_any_number:
                return {SCORES: scores, RECONSTRUCTIONS: self.network.decoder(poses, scores > THRESHOLD)[:, None]}
            best = scores.argmax(dim=1, keepdim=True) if count == 1 else scores.topk(count, dim=1).indices
            decoded = [self.network.decoder(poses, best[:, place]) for place in range(count)]
        return {SCORES: scores, RECONSTRUCTIONS: torch.stack(decoded, dim=1)}

    def _normalise_scores(self, scores: Tensor) -> Tensor:
        """Converts scores as of `forward` to those of `kind`."""
        if self.cell.has_routing:
            return scores
        return scores.sigmoid() if self.has_any_number else log_probabilities(scores, capsules=False).exp()

    def prepare(self, images: Any) -> Tensor:
        """Converts images to the network's input ``[N, C, H, W]``.

        Whole numbers are scaled to 0 to 1, and colours become grey or grey becomes colours, as the data set has them. Then the
        data set prepares the images (`Dataset.prepare_images`): it resizes them and, if its own are, standardises them. Floats
        of exactly the network's shape are taken as prepared.

        Args:
            images: an image: a path, an image of Pillow, an array ``[H, W]`` or ``[H, W, C]``, a tensor ``[C, H, W]``; or
                several: a list of these, an array ``[N, H, W, C]``, a tensor ``[N, C, H, W]``.

        Raises:
            UsageError: an image cannot be read, or its pixels have another form or range.
        """
        parts = list(images) if is_batch(images) else [images]
        if not parts:
            raise UsageError(Kind.INVALID, flag=FLAG, expected="one image or more", value="none")
        prepared = torch.cat([self._prepare_image(part) for part in parts])
        return prepared.to(self.device, self.dtype)

    def _prepare_image(self, image: Any) -> Tensor:
        pixels = read_pixels(image, self.image.channels)
        is_prepared = tuple(pixels.shape) == tuple(self.image) and _has_floats(image)
        low, high = (float(bound) for bound in pixels.aminmax())
        is_fit = np.isfinite((low, high)).all() if self.dataset.standardised else low >= 0 and high <= 1
        if not is_fit:
            expected = "finite pixels" if self.dataset.standardised else "floats from 0 to 1, or uint8 from 0 to 255"
            raise UsageError(Kind.INVALID, flag=FLAG, expected=expected, value=f"{low:g} to {high:g}")
        return pixels[None] if is_prepared else self.dataset.prepare_images(pixels[None])

    @torch.no_grad()
    def predict(self, images: Any) -> Any:
        """Predicts the class of an image; returns a `Prediction`, or a list of them for several images.

        Args:
            images: as in `prepare`.

        Raises:
            UsageError: as `prepare`; or the network predicts no classes.
            TrainingFailed: the network's scores are not finite.
        """
        if not self.classifies:
            problem = "the network predicts no classes: it is trained to make images"
            raise UsageError(Kind.CONFLICT, problem, flag="CELL", value=f"{self.cell.id}, {self.title}")
        self.eval()
        batches = self.prepare(images).split(self.cell.batch_size)
        predictions = [prediction for batch in batches for prediction in self._predict_batch(batch)]
        return predictions if is_batch(images) else predictions[0]

    def _predict_batch(self, images: Tensor) -> Iterable[Prediction]:
        outputs = {name: output.cpu() for name, output in self.compute_outputs(images).items()}
        if not outputs[SCORES].isfinite().all():
            raise TrainingFailed(f"{self.title}: the network's scores are not finite")
        ranked = outputs[SCORES].double().sort(dim=1, descending=True, stable=True)
        for place, (scores, numbers) in enumerate(zip(ranked.values.tolist(), ranked.indices.tolist(), strict=True)):
            decoded = outputs.get(RECONSTRUCTIONS)
            yield Prediction(
                classes=tuple(self.classes[number] for number in numbers),
                scores=tuple(scores),
                numbers=tuple(numbers),
                count=sum(score > THRESHOLD for score in scores)
                if self.has_any_number
                else self.dataset.labels_an_image,
                kind=self.kind,
                image=images[place].float().cpu(),
                reconstructions=None if decoded is None else decoded[place].float(),
            )

    def describe_output(self) -> Output:
        """Returns its title, and what it takes and gives; its plain text is that of a module of torch."""
        channels, height, width = self.image
        facts = {
            "cell": self.cell.id,
            "input": f"{channels} x {height} x {width}",
            "classes": ", ".join(self.classes[:MOST_NAMES]) + (", ..." if len(self.classes) > MOST_NAMES else ""),
            "scores": self.kind.meaning,
            "decoder": "yes" if self.has_decoder else "no",
            "parameters": f"{sum(parameter.numel() for parameter in self.network.parameters()):,}",
            "device": str(self.device),
        }
        return Output(self.title, tables=[Grid(["", "trained network"], [[*fact] for fact in facts.items()])])

    def extra_repr(self) -> str:
        return f"{self.title}; {self.image.channels}x{self.image.height}x{self.image.width} -> {self.kind}s"


def is_batch(images: Any) -> bool:
    """Returns true for several images: a list, or an array or a tensor of four dimensions."""
    return isinstance(images, list | tuple) or (isinstance(images, np.ndarray | Tensor) and images.ndim == 4)


def _has_floats(image: Any) -> bool:
    """Returns true for an array or a tensor of floating-point numbers, which may be prepared already."""
    if isinstance(image, np.ndarray):
        return bool(np.issubdtype(image.dtype, np.floating))
    return isinstance(image, Tensor) and image.is_floating_point()
