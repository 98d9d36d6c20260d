"""The contents of a report: the pictures of its headline table, and its sections."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache, partial

import pandas as pd

from capsbench import registry
from capsbench.measures.spec import MeasureSpec, built_in_specs
from capsbench.presenting.caption import spell_caption
from capsbench.presenting.figures.figure import Picture
from capsbench.presenting.format import PERCENT
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section, Statement
from capsbench.reporting.sections import answer, budgets, effects, epochs, hypotheses, times, tuning, winners
from capsbench.reporting.sections.accuracies import draw_accuracies
from capsbench.reporting.sections.default import make_default_section, make_own_sections
from capsbench.reporting.sections.headline import (
    accuracy_against_cost,
    accuracy_against_iterations,
    changing_losses,
    training_curves,
)

ACCURACIES = "accuracies"
"""The picture that stands at the head of a report."""

PICTURES: dict[str, Callable[[Material], Picture]] = {
    ACCURACIES: lambda material: draw_accuracies(material.summary),
    "accuracy-iterations": lambda material: accuracy_against_iterations(material.summary),
    "accuracy-cost": lambda material: accuracy_against_cost(material.summary),
    "training-curves": lambda material: training_curves(
        material.summary, material.curves, changing_losses(material.cells)
    ),
}
"""File name without ending -> function that draws it, of the pictures beside the answer and below the headline table."""


LAST = (hypotheses.SECTION, times.SECTION)
"""The sections behind those of measures."""


@dataclass(frozen=True)
class Made:
    """A section with its table in numbers and in strings, its caption, and what it says in words."""

    section: Section
    numbers: pd.DataFrame
    readable: pd.DataFrame
    caption: str
    statements: list[Statement] = field(default_factory=list)


@cache
def built_in_sections() -> tuple[Section, ...]:
    """Returns the sections that every report may have, in order; those of measures are in the order of the registry."""
    of_measures = [load_section(spec) for spec in built_in_specs().values()]
    return (
        answer.SECTION,
        winners.SECTION,
        effects.SECTION,
        tuning.SECTION,
        epochs.SECTION,
        budgets.SECTION,
        *filter(None, of_measures),
        *LAST,
    )


def load_section(spec: MeasureSpec) -> Section | None:
    """Returns the section of a built-in measure: of its ``section.py``, or the default one if it declares columns."""
    section: Section | None = registry.load_beside("measure", spec.name, "section:SECTION")
    if section is None and any(metric.columns for metric in spec.metrics):
        return make_default_section(spec, spec.name)
    return section


def find_sections(material: Material) -> list[Section]:
    """Returns the sections of a report in order: a user's own measures stand behind the built-in ones."""
    others = built_in_sections()[: -len(LAST)]
    specs = {name: spec for name, spec in material.specs.items() if name not in built_in_specs()}
    return [*others, *make_own_sections(specs), *LAST]


def all_pictures() -> dict[str, Callable[[Material], Picture]]:
    """Returns the pictures that a report may have: file name without ending -> function that draws it."""
    of_sections = {
        name: partial(_draw_with_images, section, draw)
        for section in built_in_sections()
        for name, draw in section.pictures.items()
    }
    return PICTURES | of_sections


def _draw_with_images(section: Section, draw: Callable[[Material], Picture], material: Material) -> Picture:
    picture = draw(material)
    return replace(picture, caption=picture.caption + section.about_images(material))


def made_sections(material: Material) -> list[Made]:
    """Returns the sections for which there is data."""
    sections = []
    for section in find_sections(material):
        try:
            table = section.table(material)
        except NoDataError:
            continue
        readable = section.readable(table)
        caption = spell_caption(section.caption, readable) + section.about_images(material)
        if section.name == winners.SECTION.name:
            caption = " ".join([caption, *_explain_numbers(table["measured"].unique())])
        statements = section.statements(table) if section.statements else []
        sections.append(Made(section, table, readable, caption, statements))
    return sections


def _explain_numbers(titles: Iterable[str]) -> list[str]:
    """Returns a sentence on each line of "who won" whose measure has one."""
    known = {title: sentence for section in built_in_sections() for title, sentence in section.explains.items()}
    bare = (title.removesuffix(f" {PERCENT}") for title in titles)
    return [known[title] for title in bare if title in known]
