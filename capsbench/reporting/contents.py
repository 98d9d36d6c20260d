"""What a report holds: the pictures of its headline table, and a section a measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd

from capsbench.measures.adversarial import section as adversarial
from capsbench.measures.affine import section as affine
from capsbench.measures.detection import section as detection
from capsbench.measures.equivariance import section as equivariance
from capsbench.measures.overlap import section as overlap
from capsbench.measures.routing_robustness import section as routing_robustness
from capsbench.measures.transfer import section as transfer
from capsbench.measures.transformation import section as transformation
from capsbench.measures.viewpoint import section as viewpoint
from capsbench.presenting.caption import spell_caption
from capsbench.presenting.figures.figure import Picture
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section
from capsbench.reporting.sections import effects, hypotheses, winners
from capsbench.reporting.sections.headline import (
    accuracy_against_cost,
    accuracy_against_iterations,
    changing_losses,
    training_curves,
)

PICTURES: dict[str, Callable[[Material], Picture]] = {
    "accuracy-iterations": lambda material: accuracy_against_iterations(material.summary),
    "accuracy-cost": lambda material: accuracy_against_cost(material.summary),
    "training-curves": lambda material: training_curves(
        material.summary, material.curves, changing_losses(material.cells)
    ),
}
"""File name without ending -> what draws it, of the pictures beside the headline table."""

SECTIONS: tuple[Section, ...] = (
    winners.SECTION,
    effects.SECTION,
    affine.SECTION,
    viewpoint.SECTION,
    overlap.SECTION,
    equivariance.SECTION,
    adversarial.SECTION,
    transfer.SECTION,
    routing_robustness.SECTION,
    detection.SECTION,
    transformation.SECTION,
    hypotheses.SECTION,
)
"""The sections in the order of the report."""


@dataclass(frozen=True)
class Made:
    """A section with its table in numbers and in strings, and what is said below that."""

    section: Section
    numbers: pd.DataFrame
    readable: pd.DataFrame
    caption: str


def all_pictures() -> dict[str, Callable[[Material], Picture]]:
    """The pictures that there may be, with what draws each."""
    of_sections = {
        name: partial(_draw, section, draw) for section in SECTIONS for name, draw in section.pictures.items()
    }
    return PICTURES | of_sections


def _draw(section: Section, draw: Callable[[Material], Picture], material: Material) -> Picture:
    picture = draw(material)
    return replace(picture, caption=picture.caption + section.about_images(material))


def made_sections(material: Material) -> list[Made]:
    """The sections that there is data for."""
    made = []
    for section in SECTIONS:
        try:
            table = section.table(material)
        except NoDataError:
            continue
        readable = section.readable(table)
        caption = spell_caption(section.caption, readable) + section.about_images(material)
        made.append(Made(section, table, readable, caption))
    return made
