"""The measure few-shot: characters that a network has never seen, told apart by its features of a few drawings."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from capsbench.data.base import Dataset
from capsbench.data.sets.omniglot import NOVEL_ALPHABETS, TRAINING_ALPHABETS, Omniglot, Run, read_drawings, read_runs
from capsbench.errors import TrainingFailed
from capsbench.measures.base import Measure, Subject
from capsbench.measures.few_shot.spec import EPISODES, FEW_SHOT, RUNS, SHOTS, SPEC, WAYS, WHOLE, WIDTH, name_episodes
from capsbench.networks.features import compute_features
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.records.record import Row
from capsbench.training.step import use_precision

SEED = 0
"""The seed of the episodes, the same for all cells."""

QUERIES = 5
"""Drawings of each character that are classified in an episode."""

LEAST = 1e-12
"""The smallest divisor of a feature vector."""


class FewShot(Measure):
    """Accuracy on new characters of Omniglot from a few examples, with the features of a frozen network.

    Features are the poses of all class capsules, or the input of the last layer of a CNN
    (`capsbench.networks.features.compute_features`). They are compared as in SimpleShot (Wang, Chao, Weinberger, van der Maaten
    2019): less the mean of the background drawings, divided by their length, and classified by the nearest mean of the examples
    of a class, by Euclidean distance.

    - Of more than `WIDTH` features, the first `WIDTH` principal components of the background drawings are taken, so that all
      networks have equal width. Beside it the ``whole layer``.
    - The background are the drawings of `TRAINING_ALPHABETS`; all tests are on other alphabets.
    - ``accuracy``: the mean over episodes. An episode has N characters of `NOVEL_ALPHABETS`, K examples and `QUERIES` others of
      each. ``half-width`` is that of the 95 % t-interval over episodes.
    - ``error``: of the 20 runs of Lake 2015, 20 drawings each, an example of each character.

    Without Omniglot's files in the data folder, or without poses, there is nothing but the number of ``drawings``; it is 0.
    """

    spec = SPEC

    settings = tuple(EPISODES)
    cost: ClassVar[dict[str, int]] = {"light": 6_000, "full": 12_000, "quick": 5_000}

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        return super().applies_to(cell) and dataset_of(cell).image.channels == 1

    @classmethod
    def list_datasets(cls, cell: Cell) -> tuple[str, ...]:
        return ("omniglot",)

    def __call__(self, subject: Subject) -> list[Row]:
        if any(file.find_in(subject.folder) is None for file in Omniglot.files):
            return [Row(FEW_SHOT, "drawings", "", 0.0, "images")]
        dataset = dataset_of(subject.cell)
        background = _read_features(subject, dataset, read_drawings(subject.folder, TRAINING_ALPHABETS).images)
        if not background.shape[1]:
            return [Row(FEW_SHOT, "drawings", "", 0.0, "images")]
        novel = read_drawings(subject.folder, NOVEL_ALPHABETS)
        characters = _read_features(subject, dataset, novel.images).unflatten(0, (len(novel.names), -1))
        runs = [_read_run(subject, dataset, run) for run in read_runs(subject.folder)]
        rows = [Row(FEW_SHOT, "drawings", "", float(len(novel.images)), "images")]
        for which, width in (("", WIDTH), (WHOLE, None)):
            space = Space.from_features(background, width)
            rows.append(Row(FEW_SHOT, "width", "features" + which, float(space.axes.shape[1]), "features"))
            rows += self._measure_episodes(space.embed(characters), which)
            embedded = [
                run._replace(examples=space.embed(run.examples), queries=space.embed(run.queries)) for run in runs
            ]
            rows.append(Row(FEW_SHOT, "error", RUNS + which, compute_error(embedded), "fraction"))
        return rows

    def _measure_episodes(self, embedded: Tensor, which: str) -> list[Row]:
        """Returns the accuracies on episodes of embedded drawings ``[characters, drawings, F]``."""
        from capsbench.stats.variances import critical_value  # with SciPy, which the list of measures does without

        rows = []
        for ways in WAYS:
            for shots in SHOTS:
                accuracies = run_episodes(embedded, ways, shots, EPISODES[self.setting])
                spread = np.std(accuracies, ddof=1) / np.sqrt(len(accuracies))
                half = critical_value(len(accuracies) - 1) * spread
                condition = name_episodes(ways, shots) + which
                rows.append(Row(FEW_SHOT, "accuracy", condition, float(np.mean(accuracies)), "fraction"))
                rows.append(Row(FEW_SHOT, "half-width", condition, float(half), "fraction"))
        return rows


class Space(NamedTuple):
    """The space in which features are compared.

    - ``mean`` ``[F]``: of the background
    - ``axes`` ``[F, W]``: orthonormal
    """

    mean: Tensor
    axes: Tensor

    @classmethod
    def from_features(cls, background: Tensor, width: int | None) -> Space:
        """Returns the space of the first ``width`` principal components of features ``[N, F]``; None, or more than F: all."""
        mean, count = background.mean(dim=0), background.shape[1]
        if width is None or width >= count:
            return cls(mean, torch.eye(count, dtype=background.dtype))
        centred = background - mean
        return cls(mean, torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -width:])  # ascending

    def embed(self, features: Tensor) -> Tensor:
        """Returns features ``[..., F]`` as vectors ``[..., W]`` of length 1."""
        vectors = (features - self.mean) @ self.axes
        return vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp_min(LEAST)


def classify_nearest(examples: Tensor, queries: Tensor) -> Tensor:
    """Returns for queries ``[Q, W]`` the class with the nearest mean of its examples ``[N, K, W]``; ``[Q]``."""
    return torch.cdist(queries, examples.mean(dim=1)).argmin(dim=1)


def run_episodes(embedded: Tensor, ways: int, shots: int, episodes: int) -> list[float]:
    """Returns the accuracy of each episode on drawings ``[characters, drawings, W]``.

    Characters and drawings are drawn without replacement, by the same seed whatever the network.
    """
    draw = np.random.RandomState(SEED)
    accuracies = []
    for _ in range(episodes):
        chosen = draw.choice(embedded.shape[0], ways, replace=False)
        drawings = np.stack([draw.choice(embedded.shape[1], shots + QUERIES, replace=False) for _ in chosen])
        episode = embedded[torch.from_numpy(chosen)[:, None], torch.from_numpy(drawings)]  # [N, K + Q, W]
        predicted = classify_nearest(episode[:, :shots], episode[:, shots:].flatten(0, 1))
        right = predicted == torch.arange(ways).repeat_interleave(QUERIES)
        accuracies.append(float(right.double().mean()))
    return accuracies


def compute_error(runs: list[Run]) -> float:
    """Returns the share of the queries of all runs whose nearest example is of another character."""
    wrong = [classify_nearest(run.examples[:, None], run.queries) != run.answers for run in runs]
    return float(torch.cat(wrong).double().mean())


def _read_run(subject: Subject, dataset: Dataset, run: Run) -> Run:
    """Returns a run with features ``[20, F]`` in the place of drawings."""
    examples, queries = (_read_features(subject, dataset, drawings) for drawings in (run.examples, run.queries))
    return run._replace(examples=examples, queries=queries)


@torch.no_grad()
def _read_features(subject: Subject, dataset: Dataset, drawings: Tensor) -> Tensor:
    """Returns the features ``[N, F]`` of drawings ``[N, 1, H, W]``, prepared as images of the data set, in float64.

    Raises:
        TrainingFailed: one is not finite.
    """
    like, network = subject.data.test.images, subject.network.eval()
    with use_precision(subject.cell):
        parts = [
            compute_features(network, dataset.prepare_images(batch).to(like.device, like.dtype)).double().cpu()
            for batch in drawings.split(subject.cell.batch_size)
        ]
    features = torch.cat(parts)
    if not features.isfinite().all():
        raise TrainingFailed("the network's features are not finite")
    return features
