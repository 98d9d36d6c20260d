"""The section on tuning: each contender's budget, its chosen settings, what mattered, and how optimistic the search was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from capsbench.measures.accuracy.spec import TEST_ACCURACY
from capsbench.presenting.caption import AboutColumn
from capsbench.presenting.format import PERCENT, POINTS, format_interval, name_column
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section
from capsbench.presenting.tuned import identify_contender, is_of_search
from capsbench.presenting.words import TIMES, spell_value, strip_component
from capsbench.records.record import Record
from capsbench.records.tuning import read_settings
from capsbench.records.tuning.trials import read_validation
from capsbench.stats.differences import estimate_interval
from capsbench.stats.importance import explain_ranks

CHOSEN, EDGE, MATTERED = "chosen.", "edge.", "mattered."
"""Prefixes of the columns of a tuned field or option: its values by study, the studies in which it is at the edge of its space,
and the share of the variation among trials that it explains."""

NOTABLE = 0.1
"""The least share that a readable table names."""


def build_table(material: Material) -> pd.DataFrame:
    """Returns one row a tuned contender, in the order of the headline table."""
    results: dict[str, list[Record]] = {}
    for record in material.tuned:
        results.setdefault(identify_contender(record), []).append(record)
    if not results:
        raise NoDataError("a tuned contender", "is not on record")
    lines = []
    for row in material.summary[["dataset", "contender", "label"]].itertuples(index=False):
        if row.contender in results:
            line = {"dataset": row.dataset, "contender": row.contender, "name": row.label}
            lines.append(line | _describe_search(results[str(row.contender)], material.trials))
    return pd.DataFrame(lines)


def _describe_search(results: Sequence[Record], trials: Sequence[Record]) -> dict[str, Any]:
    """Returns the numbers of one contender's search."""
    tuning = results[0].tuning
    assert tuning is not None
    of_search = [trial for trial in trials if is_of_search(trial, tuning)]
    performances = [read_validation(trial) for trial in of_search]
    line: dict[str, Any] = {
        "studies": tuning.studies,
        "trials": tuning.trials,
        "trials on record": len(of_search),
        "failed": sum(not math.isfinite(performance) for performance in performances),
        "epochs": _count_epochs(of_search, results),
        "sampler": tuning.sampler,
        **_estimate_optimism(results),
    }
    winners = {record.tuning.study: record for record in results if record.tuning is not None}
    for name in tuning.start:
        values = [read_settings(winners[study].cell, [name])[name] for study in sorted(winners)]
        edges = [name in record.tuning.edges for record in winners.values() if record.tuning is not None]
        line[CHOSEN + name] = ", ".join(map(spell_value, values))
        line[EDGE + name] = sum(edges)
        settings = [read_settings(trial.cell, [name])[name] for trial in of_search]
        line[MATTERED + name] = explain_ranks(settings, performances)
    return line


def _count_epochs(trials: Sequence[Record], results: Sequence[Record]) -> float:
    """Returns the epochs of all trials, of settings and of longer trainings of the winners; nan without trials on record."""
    searches = {record.tuning.study: record.convergence for record in results if record.tuning and record.convergence}
    longer = [rung.epochs * len(search.seeds) for search in searches.values() for rung in search.tried[1:]]
    return float(sum(trial.cell.epochs for trial in trials) + sum(longer)) if trials else math.nan


def _estimate_optimism(results: Sequence[Record]) -> dict[str, float]:
    """Returns the winners' validation accuracy, the test accuracy, and their difference with its 95 % interval over studies."""
    validation: dict[int, float] = {}
    tested: dict[int, list[float]] = {}
    for record in results:
        assert record.tuning is not None
        accuracies = [row.value for row in record.rows if row[:3] == TEST_ACCURACY]
        last = None if record.convergence is None else record.convergence.last
        # With longer trainings, that of the winning settings with the epochs that the results have.
        known = record.tuning.validation if last is None else last.validation
        if accuracies and known is not None:
            validation[record.tuning.study] = known
            tested.setdefault(record.tuning.study, []).extend(accuracies)
    if not validation:
        return dict.fromkeys(("validation %", "test %", "optimism", "optimism, ci95"), math.nan)
    differences = [validation[study] - float(np.mean(tested[study])) for study in validation]
    mean, half = estimate_interval(differences, 0.0)
    return {
        "validation %": 100 * float(np.mean([*validation.values()])),
        "test %": 100 * float(np.mean([np.mean(values) for values in tested.values()])),
        "optimism": 100 * mean,
        "optimism, ci95": 100 * half,
    }


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    rows: list[dict[Any, Any]] = table.to_dict("records")
    strings: dict[str, Any] = {
        **name_column(table),
        "trials": [_spell_trials(row) for row in rows],
    }
    if table["failed"].any():
        strings["failed"] = table["failed"].map(str)
    if table["epochs"].notna().any():
        strings["epochs"] = [_spell_count(row["epochs"]) for row in rows]
    strings |= {
        "validation %": [_spell_number(row["validation %"]) for row in rows],
        "test %": [_spell_number(row["test %"]) for row in rows],
        "optimism": [
            "" if pd.isna(row["optimism"]) else format_interval(row["optimism"], row["optimism, ci95"], 1, POINTS, "+z")
            for row in rows
        ],
        "chosen": [_spell_chosen(row) for row in rows],
        "mattered most": [_spell_mattered(row) for row in rows],
    }
    edges = [_spell_edges(row) for row in rows]
    if any(edges):
        strings["at the edge"] = edges
    return pd.DataFrame(strings)


def _spell_trials(row: Mapping[Any, Any]) -> str:
    """Returns the trials of a search; with those on record where some are missing, as of a tuner that ended before."""
    count, budget = row["trials on record"], f"{row['studies']} {TIMES} {row['trials']}"
    return budget if count in (0, row["studies"] * row["trials"]) else f"{budget}, {count} on record"


def _spell_number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.1f}"


def _spell_count(value: float) -> str:
    return "" if pd.isna(value) else f"{int(value):,}"


def _spell_chosen(row: Mapping[Any, Any]) -> str:
    return "; ".join(f"{_spell_name(name)} {values}" for name, values in _select(row, CHOSEN).items() if values)


def _spell_mattered(row: Mapping[Any, Any]) -> str:
    shares = {name: share for name, share in _select(row, MATTERED).items() if share >= NOTABLE}
    ranked = sorted(shares, key=lambda name: -shares[name])
    return ", ".join(f"{_spell_name(name)} {100 * shares[name]:.0f} {PERCENT}" for name in ranked) or "nothing clearly"


def _spell_edges(row: Mapping[Any, Any]) -> str:
    counts = {name: int(count) for name, count in _select(row, EDGE).items() if count}
    return ", ".join(f"{_spell_name(name)} ({count} of {row['studies']})" for name, count in counts.items())


def _select(row: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    """Returns the columns of a prefix that a row has, without it."""
    return {
        str(name).removeprefix(prefix): value
        for name, value in row.items()
        if str(name).startswith(prefix) and not pd.isna(value)
    }


def _spell_name(name: str) -> str:
    return strip_component(name).replace("_", " ")


SECTION = Section(
    name="tuning",
    title="Tuning",
    caption=(
        "Every contender had the same number of trials, in studies without a trial in common. A trial is one training with "
        "settings drawn from the contender's spaces. The trial with the best validation performance of a study is its winner. "
        "Test: the winners, trained anew with fresh seeds. Validation: the winning trials, on the images that chose them. "
        "Optimism: validation minus test, with a 95 % interval over studies. Chosen: the values of the winners, study by study. "
        "Mattered most: the share of the variation among the ranks of the trials that a setting explains on its own.",
        AboutColumn(
            "at the edge",
            "At the edge: the studies whose winner is at an end of its space; better values may lie beyond.",
        ),
        AboutColumn("epochs", "Epochs: those of all trials, longer trainings of the winners included."),
        AboutColumn("failed", "Failed: trials that could not be trained; they used their part of the budget."),
    ),
    table=build_table,
    readable=format_table,
)
