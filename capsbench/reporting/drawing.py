"""The pictures of a report: drawn and written out on all cores, beside the work on its tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping

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
    tickets, printer = os.pipe()  # a byte for each picture, which goes to the copy that reads it first
    os.write(printer, bytes(range(len(names))))
    os.close(printer)

    def share() -> dict[str, Image | str]:
        found = {}
        while ticket := os.read(tickets, 1):
            name = names[ticket[0]]
            found[name] = _image(pictures[name], material, forms)
        return found

    waiting = [begun(share) for _ in range(min(cores(), len(names)))]

    def wait() -> Images:
        found = {name: image for each in waiting for name, image in each().items()}
        os.close(tickets)
        for name in names:
            if name not in found:  # the copy that took it died
                found[name] = _image(pictures[name], material, forms)
        made = {name: image for name in names if isinstance(image := found[name], Image)}
        lacking = {name: reason for name in names if isinstance(reason := found[name], str)}
        return made, lacking

    return wait


def _image(draw: Draw, material: Material, forms: Collection[str]) -> Image | str:
    """A picture as it is written, or why there is none."""
    try:
        return image(draw(material), forms)
    except NoDataError as error:
        return str(error)
