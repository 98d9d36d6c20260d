"""The measure ood: images of none of the classes told from test images, by the scores of a network."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from capsbench.attacks.readings import READINGS
from capsbench.attacks.reconstructive import reconstruct_images
from capsbench.data.draws import draw_in_order
from capsbench.errors import TrainingFailed
from capsbench.measures.base import Measure, Subject
from capsbench.measures.ood.sets import DRAW_SEED, is_here, load_outside, make_synthetic
from capsbench.measures.ood.spec import ACTIVATION, IMAGES, MEAN, OOD, RECONSTRUCTION, SHARE, SPEC, name_auroc, name_fpr
from capsbench.networks.base import CapsuleNetwork
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.records.record import Row
from capsbench.training.evaluate import compute_scores
from capsbench.training.step import use_precision
from capsbench_kernels import at_least_float32

ACCEPTED = 0.95
"""The share of test images that the threshold of the false positive rate accepts."""


class OutOfDistribution(Measure):
    """AUROC and false positive rate at 95 % of images that show none of the classes, by activation and by reconstruction.

    Test images of the data set are set against those of each data set that it declares
    (`capsbench.data.base.Dataset.out_of_distribution`), and against two synthetic sets that need no file
    (`capsbench.measures.ood.sets.make_synthetic`). Images are prepared as all from elsewhere: resized to the network's input
    (`capsbench.data.prepare.resize_images`), and standardised where those of the data set are. Each score is higher for images
    that the network takes for known:

    - ``activation``: the largest class activation, of a CNN the largest logit (Hendrycks et al. 2022);
    - ``share``: the largest activation divided by their sum, of a CNN the largest softmax probability (Hendrycks, Gimpel 2017);
    - ``reconstruction``: minus the L2 distance to the reconstruction from the winning capsule (Frosst, Sabour, Hinton 2018), for
      capsule networks with a decoder.

    ``AUROC by`` a score is the probability that a test image has a higher one than an image of the set; equal scores count half.
    ``FPR at 95 % by`` a score is the share of the set's images at or above the largest threshold that at least 95 % of the test
    images reach. ``mean`` is over all sets whose images were scored.

    A declared set whose files are not in the data folder is left out: its number of ``images`` is 0. Nothing is downloaded.

    Kept beside the record: the scores of each image, by set and score (the logarithm of ``share``), and ``image``, the indices
    of the test images.
    """

    spec = SPEC

    settings: ClassVar[tuple[str, ...]] = tuple(IMAGES)
    cost: ClassVar[dict[str, int]] = {"light": 3_000, "full": 25_000, "quick": 1_000}

    @classmethod
    def list_datasets(cls, cell: Cell) -> tuple[str, ...]:
        return dataset_of(cell).out_of_distribution

    def __call__(self, subject: Subject) -> list[Row]:
        dataset, test, most = dataset_of(subject.cell), subject.data.test, IMAGES[self.setting]
        which = draw_in_order(test.labels, most, DRAW_SEED)
        known = test.images[which]
        here = [name for name in self.list_datasets(subject.cell) if is_here(name, subject.folder)]
        outside = {
            **{name: load_outside(name, dataset, subject.folder, most) for name in here},
            **make_synthetic(known, dataset),
        }
        known_scores = _score_images(subject.cell, subject.network, known)
        rows = [Row(OOD, "images", "test", float(len(known)), "images")]
        kept = {"image": which.to(torch.int32), **_name_scores("test", known_scores)}
        values: dict[str, dict[str, float]] = {}
        for name, images in outside.items():
            scores = _score_images(subject.cell, subject.network, images.to(known))
            kept |= _name_scores(name, scores)
            rows.append(Row(OOD, "images", name, float(len(images)), "images"))
            for score, of_known in known_scores.items():
                auroc, fpr = compare_scores(of_known, scores[score])
                values.setdefault(name_auroc(score), {})[name] = auroc
                values.setdefault(name_fpr(score), {})[name] = fpr
        left_out = [name for name in self.list_datasets(subject.cell) if name not in here]
        rows += [Row(OOD, "images", name, 0.0, "images") for name in left_out]
        for metric, by_set in values.items():
            rows += [Row(OOD, metric, name, value, "fraction") for name, value in by_set.items()]
            rows.append(Row(OOD, metric, MEAN, sum(by_set.values()) / len(by_set), "fraction"))
        subject.keep(kept)
        return rows


def compare_scores(known: Tensor, outside: Tensor) -> tuple[float, float]:
    """Returns the AUROC and the false positive rate at 95 % of scores ``[N]`` of test images and ``[M]`` of others."""
    from sklearn.metrics import roc_auc_score, roc_curve  # takes a second to import

    truth = torch.cat([torch.ones_like(known), torch.zeros_like(outside)]).cpu().numpy()
    scores = torch.cat([known, outside]).cpu().numpy()
    false_positives, true_positives, _ = roc_curve(truth, scores, drop_intermediate=False)
    # Both rates grow as the threshold falls, so the first point at 95 % has the largest threshold.
    return float(roc_auc_score(truth, scores)), float(false_positives[(true_positives >= ACCEPTED).argmax()])


def _score_images(cell: Cell, network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Returns score -> its values ``[N]``, higher for images that the network takes for known."""
    outputs = at_least_float32(compute_scores(cell, network, images))
    shares = READINGS["share"](outputs) if cell.has_routing else outputs.log_softmax(dim=1)
    scores = {ACTIVATION: outputs.amax(dim=1), SHARE: shares.amax(dim=1)}
    if cell.has_routing and cell.reconstruction:
        assert isinstance(network, CapsuleNetwork)
        scores[RECONSTRUCTION] = -_measure_distances(cell, network, images)
    return scores


@torch.no_grad()
def _measure_distances(cell: Cell, network: CapsuleNetwork, images: Tensor) -> Tensor:
    """Returns the L2 distances ``[N]`` of images to their reconstructions; raises TrainingFailed if one is not finite."""
    with use_precision(cell):
        distances = torch.cat(
            [reconstruct_images(network, batch).measure_distance(batch) for batch in images.split(cell.batch_size)]
        )
    if not distances.isfinite().all():
        raise TrainingFailed("the network's reconstructions are not finite")
    return at_least_float32(distances)


def _name_scores(name: str, scores: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{score}": values for score, values in scores.items()}
