"""Whether a network has collapsed: it says one class whatever it is shown, or is right no more often than one that does."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from capsbench.stats.differences import ALPHA

ONE_CLASS = 0.95
"""The share of all predictions from which those of one class are as good as all."""

FEWEST_IMAGES = 20
"""Test images that it takes: of fewer, one image more or less is all that lies between `ONE_CLASS` and 1."""


class Counts(NamedTuple):
    """What a network made of test images of one label each.

    Attributes:
        images: how many there are.
        predicted: of those, the ones taken for the class that most are taken for.
        labelled: the ones of the class that most are of.
        right: the ones taken for what they are.
    """

    images: int
    predicted: int
    labelled: int
    right: int

    @classmethod
    def of(cls, predictions: NDArray[Any], labels: NDArray[Any]) -> Counts:
        """The counts of predicted classes ``[N]`` and labels ``[N]``, both from 0."""
        predicted, labelled = (int(np.bincount(each).max()) for each in (predictions, labels))
        return cls(len(labels), predicted, labelled, int((predictions == labels).sum()))

    @property
    def collapsed(self) -> bool | None:
        """Whether `ONE_CLASS` of the predictions or more are one class, or the accuracy is not above the largest class's share.

        The first where more than 90 % of the images are of one class: whether half of the other images or more are taken for
        it. The second by a one-sided exact binomial test. None where that cannot be told: of few images, or where not even
        a network that has all of them right would pass the test, as with images of one class alone.
        """
        largest = self.labelled / self.images
        if self.images < FEWEST_IMAGES or at_least(self.images, self.images, largest) > ALPHA:
            return None
        one_class = max(ONE_CLASS, (1 + largest) / 2)
        return self.predicted >= one_class * self.images or at_least(self.right, self.images, largest) > ALPHA


def at_least(count: int, draws: int, chance: float) -> float:
    """The probability of ``count`` successes or more in some draws."""
    return float(special.betainc(count, draws - count + 1, chance)) if count else 1.0
