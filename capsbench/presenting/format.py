"""A summary for people: strings, and what the strings of a table mean."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from capsbench.presenting.baselines import TOLERANCE
from capsbench.presenting.caption import About, AboutColumn, Caption
from capsbench.presenting.contenders import BASELINE, baseline_kinds, varying_columns
from capsbench.presenting.marks import UNLIKE, marks_of
from capsbench.presenting.naming import MATCHED
from capsbench.presenting.words import shorten_name, spell_value
from capsbench.stats.differences import ALPHA, FEWEST_SEEDS
from capsbench.stats.verdicts import MOST_SEEDS, Outcome

HOLDS = "*"
"""Stands behind a difference that the paired test calls one."""

HOLDS_MEANS = (
    f"{HOLDS}: significantly different, by a paired test over images and seeds ({FEWEST_SEEDS} seeds or more), "
    f"p < {ALPHA:g} after Holm over the table; without it, no difference was shown"
)

MORE_SEEDS = f"> {MOST_SEEDS}"
"""Where no number of seeds that is looked at would show a difference."""

CAPTION: Caption = (
    AboutColumn("accuracy", "Accuracy: of the test images, the mean over n seeds ± half-width of the 95 % t-interval."),
    AboutColumn(
        "vs ",
        "Vs: points to that CNN, trained on the same data for as long, paired over seeds; the 95 % interval is adjusted for all "
        "differences of the table.",
    ),
    AboutColumn("seeds needed", "Seeds needed: how many would show a difference of this size and spread."),
    AboutColumn("parameters", "Parameters: all that are trained, those of a decoder too."),
    About(
        f"{MATCHED} CNN to ",
        f"A {MATCHED} CNN to N: of N parameters within {100 * TOLERANCE:g} %. N is a number near that of the capsule network, "
        "rounded so that networks of almost one size share the CNN.",
    ),
    AboutColumn("FLOPs", "FLOPs: inference of an image."),
    AboutColumn("step", "Step: training on a batch, p50."),
    AboutColumn("inference", "Inference: of a batch, p50."),
    AboutColumn("memory", "Memory: the peak of a training step."),
)
"""Of the table of the contenders; `describe_sizes` follows it."""

PERCENT, POINTS = "%", "points"

BOUNDS = {PERCENT: (0.0, 100.0), POINTS: (-100.0, 100.0)}
"""Unit -> what numbers in it, shares and their differences, cannot be beyond; the t-interval of a few seeds may."""

FACTORS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}

_QUANTITY = re.compile(
    r"(?P<number>[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?P<factor>[KMGT]?)(?P<unit> ?(?:ms|s|µs|MiB|%))?"
    r"(?P<rest>(?: of \d+)?(?: ± \d[\d,.]*| \[[+-]?[\d.]+, [+-]?[\d.]+\])?"
    r"(?: ?\((?:n=\d+|unverified|not tested, \d+ seeds?)\)| ?[*†§])*)"
)


def format_summary(summary: pd.DataFrame) -> pd.DataFrame:
    """A summary (`capsbench.presenting.contenders.summary`) as strings, such as ``97.3 ± 0.8``, under short headings."""
    made = {
        "dataset": _format_column(summary, "dataset", str),
        "train": _format_column(summary, "train_size", str, empty="all"),
        "size": _format_column(summary, "size", str),
        "network": _format_column(summary, "network", shorten_name),
        "routing": _format_column(summary, "routing", shorten_name),
        "iters": _format_column(summary, "iterations", str),
        **{name: _format_column(summary, name, spell_value) for name in varying_columns(summary)},
        "n": spell_seed_counts(summary["n"], summary["seeds"]),
        "accuracy %": _format_intervals(summary, "accuracy_percent", "accuracy_ci95", "accuracy_n", PERCENT),
        **_format_all_differences(summary),
        "parameters": _format_column(summary, "parameters", format_si),
        "FLOPs": _format_column(summary, "flops", format_si),
        "step": _format_column(summary, "training_step_ms", _format_milliseconds),
        "inference": _format_column(summary, "inference_ms", _format_milliseconds),
        "memory": _format_column(summary, "memory_mib", "{:,.0f} MiB".format),
        "marks": _format_marks(summary),
    }
    return pd.DataFrame({heading: column for heading, column in made.items() if column is not None})


def name_column(table: pd.DataFrame) -> dict[str, pd.Series]:
    """The first column of a table for people: the contender's ``name``, with the data set where there are several."""
    several = table["dataset"].nunique() > 1
    return {"name": table["dataset"] + ": " + table["name"] if several else table["name"]}


def spell_seed_counts(n: pd.Series, seeds: pd.Series) -> pd.Series:
    """``3``, and ``2 of 3`` where a number is not of all of the contender's seeds."""
    return n.map(str) + (" of " + seeds.map(str)).where(n < seeds, "")


def cut_interval(value: float, half: float, unit: str = PERCENT) -> tuple[float, float]:
    """The ends of an interval, cut at what numbers in its unit cannot be beyond; whole about a number that is."""
    low, high = value - half, value + half
    least, most = BOUNDS.get(unit, (-math.inf, math.inf))
    return (max(low, least), min(high, most)) if least <= value <= most else (low, high)


def format_interval(value: float, half: float, digits: int, unit: str = "", sign: str = "") -> str:
    """``97.3 ± 0.8``, or of per cent and points that it would be beyond 100 of, ``99.5 [98.1, 100.0]``.

    Without a half-width it is the number alone, and nothing where there is none.

    Args:
        sign: as in a format specification, such as ``+``.
    """
    if pd.isna(value):
        return ""
    form = f"{{:{sign}.{digits}f}}".format
    if pd.isna(half):
        return form(value)
    low, high = cut_interval(value, half, unit)
    if max(low - (value - half), value + half - high) < 0.5 * 10.0**-digits:
        return f"{form(value)} ± {half:.{digits}f}"
    return f"{form(value)} [{form(low)}, {form(high)}]"


def spell_seeds(each: Sequence[int]) -> str:
    """``seed 0``, ``seeds 0, 1, 2``, ``seeds 0 to 9``."""
    if len(each) == 1:
        return f"seed {each[0]}"
    if len(each) > 3 and list(each) == list(range(each[0], each[-1] + 1)):
        return f"seeds {each[0]} to {each[-1]}"
    return f"seeds {', '.join(map(str, each))}"


class Quantity(NamedTuple):
    """What a string of a table says: its number, its unit, and the string without the unit."""

    value: float
    unit: str
    bare: str


def parse_quantity(text: str) -> Quantity | None:
    """``97.3 ± 0.8`` -> 97.3, ``28.0K`` -> 28000, ``12.0 ms`` -> 12 in ms; None for what is not a number."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        return None
    value = float(found["number"].replace(",", "")) * FACTORS[found["factor"]]
    return Quantity(value, (found["unit"] or "").strip(), found["number"] + found["factor"] + found["rest"])


def split_interval(text: str) -> tuple[str, str, str]:
    """A number, its interval with what stands before that, and what stands behind; ``text`` alone where there is none."""
    found = re.fullmatch(r"(.*?)( ± [\d.,]+| \[[^\]]*\])(.*)", text)
    return (found[1], found[2], found[3]) if found else (text, "", "")


def format_si(number: float) -> str:
    """``28012`` -> ``28.0K``, ``1.2e6`` -> ``1.2M``."""
    for unit, factor in reversed(FACTORS.items()):
        if unit and number >= factor:
            return f"{number / factor:.1f}{unit}"
    return f"{number:g}"


def _format_column(summary: pd.DataFrame, column: str, show: Callable[[Any], str], empty: str = "") -> pd.Series | None:
    """A column as strings; None where the summary has no such column."""
    if column not in summary:
        return None
    return summary[column].astype(object).map(lambda value: empty if pd.isna(value) else show(value))


def _format_intervals(
    summary: pd.DataFrame, column: str, half_column: str, n: str, unit: str, sign: str = ""
) -> pd.Series | None:
    """``97.3 ± 0.8``; the number of seeds is added where it is not that of the row."""
    if column not in summary:
        return None
    numbers = zip(summary[column], summary[half_column], strict=True)
    shown = pd.Series([format_interval(value, half, 1, unit, sign) for value, half in numbers], index=summary.index)
    seeds = summary.get(n, summary["n"])
    fewer = (seeds != summary["n"]).fillna(False) & shown.ne("")
    return shown + (" (n=" + seeds.astype(str) + ")").where(fewer, "")


def _format_marks(summary: pd.DataFrame) -> pd.Series | None:
    """The marks of each contender by their names; None where nobody has one."""
    marks = marks_of(summary)
    return marks.map(lambda own: ", ".join(mark.name.replace("_", " ") for mark in own)) if marks.any() else None


def _format_all_differences(summary: pd.DataFrame) -> dict[str, pd.Series | None]:
    """The columns of differences to each kind of baseline."""
    kinds = baseline_kinds(summary)
    shown: dict[str, pd.Series | None] = {}
    for kind in kinds:
        needed = "seeds needed" if len(kinds) == 1 else f"seeds needed vs {kind}"
        shown |= {f"vs {kind}": _format_differences(summary, kind), needed: _format_seeds_needed(summary, kind)}
    return shown


def _format_differences(summary: pd.DataFrame, kind: str) -> pd.Series | None:
    """``-0.6 ± 1.3``, with `HOLDS` behind what is a difference, and the sign of trainings that differ in more than that."""
    points, half, n = (f"difference_{name}.{kind}" for name in ("points", "ci95", "n"))
    shown = _format_intervals(summary, points, half, n, POINTS, "+z")
    if shown is None:
        return None
    described = zip(shown, *(summary[f"difference_{name}.{kind}"] for name in ("verdict", "n", "unlike")), strict=True)
    return pd.Series([describe_difference(*each) for each in described], index=shown.index)


def describe_difference(shown: str, verdict: Any, n: Any, unlike: Any) -> str:
    """A difference with what is said of it: `HOLDS`, too few seeds, and the sign of trainings that differ in more than that."""
    if verdict == Outcome.NOT_TESTED:
        shown = f"{shown.removesuffix(f' (n={n})')} (not tested, {n} seed{'' if n == 1 else 's'})"
    return shown + (HOLDS if verdict == Outcome.DIFFERENT else "") + (f" {UNLIKE.sign}" if shown and unlike else "")


def _format_seeds_needed(summary: pd.DataFrame, kind: str) -> pd.Series | None:
    """How many seeds would show each difference that is not significant; None where there is none."""
    verdicts = summary.get(f"difference_verdict.{kind}")
    if verdicts is None or not (verdicts == Outcome.NOT_SIGNIFICANT).any():
        return None
    needed = zip(verdicts, summary[f"difference_seeds_needed.{kind}"], strict=True)
    return pd.Series([spell_seeds_needed(*each) for each in needed], index=summary.index)


def spell_seeds_needed(verdict: Any, seeds: Any) -> str:
    """How many seeds would show a difference, such as ``12`` or ``> 100``; empty but for one that is not significant."""
    if verdict != Outcome.NOT_SIGNIFICANT:
        return ""
    return MORE_SEEDS if pd.isna(seeds) else str(seeds)


def parameter_ratios(summary: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Kind of baseline -> the least and the greatest parameters of one, as a part of those of its capsule network."""
    if "parameters" not in summary:
        return {}
    parameters = summary.set_index("contender")["parameters"].astype(float)
    found = {}
    for kind in baseline_kinds(summary):
        beside = summary.dropna(subset=BASELINE + kind)
        ratios = beside[BASELINE + kind].map(parameters).to_numpy() / beside["parameters"].astype(float).to_numpy()
        known = ratios[np.isfinite(ratios)]
        if len(known):
            found[kind] = (float(known.min()), float(known.max()))
    return found


def describe_sizes(summary: pd.DataFrame) -> list[str]:
    """A sentence on the size of each kind of baseline: ``vs resnet: 0.23 times the parameters of the capsule network.``"""
    sentences = []
    for kind, (least, most) in parameter_ratios(summary).items():
        if max(abs(least - 1), abs(most - 1)) <= TOLERANCE:
            size = f"parameters equal to the capsule network's within {100 * TOLERANCE:g} %"
        else:
            span = dict.fromkeys((f"{least:.2g}", f"{most:.2g}"))
            size = f"{' to '.join(span)} times the parameters of the capsule network"
        sentences.append(f"Vs {kind}: {size}.")
    return sentences


def _format_milliseconds(value: float) -> str:
    return f"{value:.2f} ms" if value < 10 else f"{value:,.1f} ms"
