"""Detects collapsed networks: those that predict one class for every image, or are no more accurate than such a network."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from capsbench.stats.differences import ALPHA

ONE_CLASS = 0.95
"""The share of predictions in one class from which a network counts as predicting that class alone."""

FEWEST_IMAGES = 20
"""The fewest test images to judge by: with fewer, a single image separates `ONE_CLASS` from 1."""


class Counts(NamedTuple):
    """Counts of a network's predictions on test images that have one label each.

    Attributes:
        images: all test images.
        predicted: images predicted as the class that is predicted most often.
        labelled: images of the largest class.
        right: images predicted correctly.
    """

    images: int
    predicted: int
    labelled: int
    right: int

    @classmethod
    def from_predictions(cls, predictions: NDArray[Any], labels: NDArray[Any]) -> Counts:
        """Counts predicted classes ``[N]`` and labels ``[N]``, both numbered from 0."""
        predicted, labelled = (
            int(np.unique(classes, return_counts=True)[1].max()) for classes in (predictions, labels)
        )
        return cls(len(labels), predicted, labelled, int((predictions == labels).sum()))

    @property
    def collapsed(self) -> bool | None:
        """True if the network predicts one class alone, or its accuracy is not above the largest class's share.

        A network predicts one class alone if `ONE_CLASS` of its predictions are of that class. If one class has more than 90 %
        of the images, the network must also predict it for half of the other images. The accuracy is tested against the largest
        class's share by a one-sided exact binomial test.

        None if there are too few images, or if even a perfect network would fail the binomial test, as on images of one class.
        """
        largest = self.labelled / self.images
        if self.images < FEWEST_IMAGES or binomial_tail(self.images, self.images, largest) > ALPHA:
            return None
        # On a data set of, say, 96 % one class, even a perfect network gives `ONE_CLASS` of its predictions to that class.
        one_class = max(ONE_CLASS, (1 + largest) / 2)
        return self.predicted >= one_class * self.images or binomial_tail(self.right, self.images, largest) > ALPHA


def binomial_tail(count: int, draws: int, chance: float) -> float:
    """Returns the probability of ``count`` or more successes in ``draws`` draws: the upper tail of a binomial distribution."""
    return float(special.betainc(count, draws - count + 1, chance)) if count else 1.0
