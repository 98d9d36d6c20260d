"""What a report holds: the pictures of its headline table, and a section a measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from capsbench.reporting import (
    adversarial,
    affine,
    effects,
    equivariance,
    hypotheses,
    robustness,
    transformation,
    winners,
)
from capsbench.reporting.picture import Picture
from capsbench.reporting.plots import accuracy_against_cost, accuracy_against_iterations, training_curves
from capsbench.reporting.section import Material, NoDataError, Section

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
    affine.VIEWPOINT,
    affine.OVERLAP,
    equivariance.SECTION,
    adversarial.SECTION,
    robustness.TRANSFER,
    robustness.ROUTING,
    robustness.DETECTION,
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
