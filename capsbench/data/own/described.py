"""Images of a user's own that are not here: what a network that was trained on them needs to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from capsbench.data.images import ImageShape
from capsbench.data.own.base import OwnImages, Picture
from capsbench.data.own.decoding import Fit, parse_size
from capsbench.errors import Kind, UsageError
from capsbench.records.cell import Scalar


class DescribedImages(OwnImages):
    """A data set of a user's own by the shape of its images and the names of its classes; it prepares images and loads none.

    Args:
        options: those of the data set, such as ``resize`` and ``crop``.
    """

    def __init__(self, image: ImageShape, class_names: Sequence[str], options: Mapping[str, Scalar]) -> None:
        self.image = image
        self.class_names = list(class_names)
        self.classes = len(class_names)
        resize, crop = (str(options.get(name, "none")) for name in ("resize", "crop"))
        self.fit = Fit(parse_size("resize", resize), parse_size("crop", crop, square=True))

    def list_pictures(self) -> Sequence[Picture]:
        raise UsageError(Kind.MISSING, "its images are not here", flag="dataset")
