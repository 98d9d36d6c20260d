"""What a report holds: the pictures of its headline table, and a section a measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
from capsbench.presenting.figures.figure import Picture
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section
from capsbench.reporting.sections import effects, hypotheses, winners
from capsbench.reporting.sections.headline import accuracy_against_cost, accuracy_against_iterations, training_curves

PICTURES: dict[str, Callable[[Material], Picture]] = {
    "accuracy-iterations": lambda material: accuracy_against_iterations(material.summary),
    "accuracy-cost": lambda material: accuracy_against_cost(material.summary),
    "training-curves": lambda material: training_curves(material.summary, material.curves),
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
    """A section with its table in numbers and in strings."""

    section: Section
    numbers: pd.DataFrame
    readable: pd.DataFrame


def all_pictures() -> dict[str, Callable[[Material], Picture]]:
    """The pictures that there may be, with what draws each."""
    return PICTURES | {name: draw for section in SECTIONS for name, draw in section.pictures.items()}


def made_sections(material: Material) -> list[Made]:
    """The sections that there is data for."""
    made = []
    for section in SECTIONS:
        try:
            table = section.table(material)
        except NoDataError:
            continue
        made.append(Made(section, table, section.readable(table)))
    return made
