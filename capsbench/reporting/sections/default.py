"""The default section: a table made of what a measure declares, for a measure without a ``section.py`` of its own.

The texts of a user's own measure come from records of other people, as all names do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import partial

import pandas as pd

from capsbench.measures.spec import SHARE, MeasureSpec, Metric
from capsbench.presenting.columns import format_numbers, one_row_each, select_number
from capsbench.presenting.format import PERCENT
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section

PREFIX = "own-"
"""Begins the names of the files, so that none has the name of another section."""


def make_own_sections(specs: Mapping[str, MeasureSpec]) -> list[Section]:
    """Returns a section for each of some measures of a user's own."""
    sections: list[Section] = []
    for spec in specs.values():
        sections.append(make_default_section(spec, _name_file(spec.name, [section.name for section in sections])))
    return sections


def make_default_section(spec: MeasureSpec, name: str) -> Section:
    """Returns the section of a measure, whose files have a name."""
    return Section(
        name=name,
        title=spec.title or spec.name,
        caption=describe_numbers(spec),
        table=partial(make_table, spec),
        readable=format_numbers,
    )


def make_table(spec: MeasureSpec, material: Material) -> pd.DataFrame:
    """Returns one row a contender: each number that is a column, the mean over seeds, and the half-width of its interval."""
    means = material.average_seeds(material.of_measure(spec.name))
    means = means[means["level"].isna()]
    numbers = {heading: select_number(means, metric, condition) for heading, metric, condition in _list_columns(spec)}
    table = one_row_each(means, numbers)
    if not set(numbers) & set(table):
        raise NoDataError(spec.name, "has no number that is a column")
    return table


def describe_numbers(spec: MeasureSpec) -> str:
    """Returns the caption of a table: what the measure says, and which of two numbers is the better one."""
    sentences = [spec.caption] if spec.caption else []
    for better, words in ((True, "Higher is better"), (False, "Lower is better")):
        if metrics := [metric.name for metric in spec.metrics if metric.columns and metric.higher_is_better is better]:
            sentences.append(f"{words}: {', '.join(metrics)}.")
    return " ".join([*sentences, "Each number is the mean over n seeds ± half-width of its 95 % t-interval."])


def _list_columns(spec: MeasureSpec) -> Iterator[tuple[str, str, str]]:
    """Yields heading, metric and condition of each column; a metric with one column has its name as the heading."""
    for metric in spec.metrics:
        for condition in metric.columns:
            of = metric.name if len(metric.columns) == 1 else f"{metric.name}, {condition}"
            yield f"{of} {_describe_unit(metric)}", metric.name, condition


def _describe_unit(metric: Metric) -> str:
    return PERCENT if metric.unit == SHARE else f"({metric.unit})"


def _name_file(measure: str, taken: Collection[str]) -> str:
    """Returns the name of a measure's files, without signs that a file or a link may not have."""
    name = PREFIX + (re.sub(r"[^a-z0-9]+", "-", measure.lower()).strip("-")[:40] or "measure")
    count = sum(other == name or other.startswith(f"{name}--") for other in taken)
    return f"{name}--{count + 1}" if count else name
