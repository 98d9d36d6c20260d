"""What a report holds: the pictures of its headline table, and a section a measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def picture_names() -> list[str]:
    """The pictures that there may be."""
    return [*PICTURES, *(name for section in SECTIONS for name in section.pictures)]


def table_names() -> list[str]:
    """The files of tables that there may be, beside the headline table."""
    return [f"{section.name}.csv" for section in SECTIONS]


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


def drawn(
    pictures: Mapping[str, Callable[[Material], Picture]], material: Material
) -> tuple[dict[str, Picture], list[str]]:
    """The pictures that there is data for, and a line for each other one."""
    made, notes = {}, []
    for name, draw in pictures.items():
        try:
            made[name] = draw(material)
        except NoDataError as error:
            notes.append(f"no picture {name}: {error}")
    return made, notes
