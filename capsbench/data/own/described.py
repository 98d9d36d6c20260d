"""Images of a user's own that are not here: what a network that was trained on them needs to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from capsbench.data.images import ANY_NUMBER, ImageShape
from capsbench.data.own.base import LABELS, OwnImages, Picture
from capsbench.data.own.decoding import Fit, parse_size
from capsbench.errors import Kind, UsageError
from capsbench.records.cell import IMAGES, Cell, Scalar
from capsbench.sources import locations


def describe_images(cell: Cell, sources: Mapping[str, Mapping[str, str]]) -> DescribedImages | None:
    """Returns the images of a cell by what its record says of them; None if it says nothing, as of built-in data sets.

    Args:
        sources: those of the record.

    Raises:
        UsageError: the record was changed.
    """
    facts = sources.get(IMAGES)
    if facts is None or not locations.split_scheme(cell.dataset)[0]:
        return None
    try:
        channels, height, width = map(int, facts["shape"].split("x"))
        names = [facts[str(label)] for label in range(len(facts.keys() - {"shape", LABELS}))]
    except (KeyError, ValueError) as error:
        problem = f"its record does not describe its images: {error}"
        value = f"{cell.id}, {cell.title}"
        raise UsageError(Kind.DAMAGED, problem, flag="CELL", value=value, expected="train it again") from error
    count = ANY_NUMBER if LABELS in facts else 1
    return DescribedImages(ImageShape(channels, height, width), names, cell.component_options("dataset"), count)


class DescribedImages(OwnImages):
    """A data set of a user's own by the shape of its images and the names of its classes; it prepares images and loads none.

    Args:
        options: those of the data set, such as ``resize`` and ``crop``.
        labels_an_image: as in `Dataset`.
    """

    def __init__(
        self, image: ImageShape, class_names: Sequence[str], options: Mapping[str, Scalar], labels_an_image: int = 1
    ) -> None:
        self.image = image
        self.labels_an_image = labels_an_image
        self.class_names = list(class_names)
        self.classes = len(class_names)
        resize, crop = (str(options.get(name, "none")) for name in ("resize", "crop"))
        self.fit = Fit(parse_size("resize", resize), parse_size("crop", crop, square=True))

    def list_pictures(self) -> Sequence[Picture]:
        raise UsageError(Kind.MISSING, "its images are not here", flag="dataset")
