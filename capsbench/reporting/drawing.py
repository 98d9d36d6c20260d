"""The pictures of a report: drawn and written out on all cores, beside the work on its tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

from capsbench.reporting.beside import begun, cores
from capsbench.reporting.files import image
from capsbench.reporting.picture import Image, Picture
from capsbench.reporting.section import Material, NoDataError

Draw = Callable[[Material], Picture]

Images = tuple[dict[str, Image], dict[str, str]]
"""Pictures by name, and of those that there is no data for why not."""


def begin(pictures: Mapping[str, Draw], material: Material, forms: Collection[str]) -> Callable[[], Images]:
    """Begins to draw; calling what is returned waits for the pictures, in their order.

    Args:
        pictures: file name without ending -> what draws it.
        forms: of ``png`` and ``svg``, what they are written as.
    """
    names = list(pictures) if forms else []
    shares = min(cores(), len(names))
    waiting = [
        begun(partial(_images, {name: pictures[name] for name in names[share::shares]}, material, forms))
        for share in range(shares)
    ]

    def wait() -> Images:
        parts = [each() for each in waiting]
        made = {name: image for images, _ in parts for name, image in images.items()}
        lacking = {name: reason for _, reasons in parts for name, reason in reasons.items()}
        return {n: made[n] for n in names if n in made}, {n: lacking[n] for n in names if n in lacking}

    return wait


def drawn(pictures: Mapping[str, Draw], material: Material) -> tuple[dict[str, Picture], dict[str, str]]:
    """The pictures that there is data for, and of each other one why there is none."""
    made, lacking = {}, {}
    for name, draw in pictures.items():
        try:
            made[name] = draw(material)
        except NoDataError as error:
            lacking[name] = str(error)
    return made, lacking


def _images(pictures: Mapping[str, Draw], material: Material, forms: Collection[str]) -> Images:
    made, lacking = drawn(pictures, material)
    return {name: image(picture, forms) for name, picture in made.items()}, lacking
