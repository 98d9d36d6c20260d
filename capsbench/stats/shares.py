"""The confidence interval of a share of n images, such as an accuracy."""

from __future__ import annotations

import math

from scipy import special  # scipy.stats, which has the same, takes a second to import

from capsbench.stats.variances import ALPHA


def wilson_interval(share: float, images: int, level: float = ALPHA) -> tuple[float, float]:
    """Returns the ends of Wilson's score interval (1927): which shares of all such images the share of some of them allows.

    It is about the images alone. Another training of the same network is a further source of error, which it does not know.

    Args:
        share: the share of the images, within [0, 1].
        images: their number.
        level: the probability that the interval misses the share of all images.
    """
    z = -float(special.ndtri(level / 2))
    scale = 1 + z**2 / images
    centre = (share + z**2 / (2 * images)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    return max(0.0, centre - half), min(1.0, centre + half)
