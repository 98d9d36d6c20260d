"""A summary as strings, and the number that a string of a table has."""

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
from capsbench.records.tuning import SEARCH, TUNED
from capsbench.records.tuning.convergence import AUTO_EPOCHS
from capsbench.stats.differences import ALPHA, FEWEST_SEEDS
from capsbench.stats.power import MOST_SEEDS, POWER
from capsbench.stats.verdicts import Outcome

SIGNIFICANT = "*"
"""The sign of a significant difference."""

SIGNIFICANT_MEANS = (
    f"{SIGNIFICANT}: significantly different, by a paired test over images and seeds ({FEWEST_SEEDS} seeds or more), "
    f"p < {ALPHA:g} after Holm over the table; without it, no difference was shown"
)

MORE_SEEDS = f"> {MOST_SEEDS}"
"""Seeds needed where the largest number that is tried would not show the difference."""

POWER_OF_PLANS = f"with a power of {100 * POWER:g} %"

IMAGES_NEEDED = "more images"
ABOUT_IMAGES_NEEDED = (
    f"{MORE_SEEDS}; {MOST_SEEDS} with so many more images: the test images alone leave more doubt than the difference, so no "
    "number of seeds shows it on these."
)

CAPTION: Caption = (
    AboutColumn("accuracy", "Accuracy: of the test images, the mean over n seeds ± half-width of the 95 % t-interval."),
    AboutColumn(
        "vs ",
        "Vs: points to that CNN, trained on the same data with the same budget, paired over seeds; the 95 % interval is adjusted "
        "for all differences of the table.",
    ),
    AboutColumn(
        "seeds needed", f"Seeds needed: how many would show a difference of this size and spread, {POWER_OF_PLANS}."
    ),
    About(IMAGES_NEEDED, ABOUT_IMAGES_NEEDED),
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
"""The caption of the table of the contenders; `describe_sizes` follows it."""

PERCENT, POINTS = "%", "points"

BOUNDS = {PERCENT: (0.0, 100.0), POINTS: (-100.0, 100.0)}
"""Unit -> the bounds of shares and their differences, which the t-interval of a few seeds may exceed."""

SEARCH_COLUMN = "search"
"""The column of a summary that says how settings were found."""

MARKS = frozenset({TUNED, AUTO_EPOCHS, SEARCH})
"""The columns of a summary that become one, `SEARCH_COLUMN`."""

FACTORS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}

_QUANTITY = re.compile(
    r"(?P<number>[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?P<factor>[KMGT]?)(?P<unit> ?(?:ms|s|µs|MiB|%))?"
    r"(?P<rest>(?: of \d+)?(?: ± \d[\d,.]*| \[[+-]?[\d.]+, [+-]?[\d.]+\])?"
    r"(?: ?\((?:n=\d+|unverified|not tested, \d+ (?:seeds?|study|studies))\)| ?[*†§])*)"
)


def format_summary(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns a summary (`capsbench.presenting.contenders.summary`) as strings, such as ``97.3 ± 0.8``."""
    columns = {
        "dataset": _format_column(summary, "dataset", str),
        "train": _format_column(summary, "train_size", str, empty="all"),
        "size": _format_column(summary, "size", str),
        "network": _format_column(summary, "network", shorten_name),
        "routing": _format_column(summary, "routing", shorten_name),
        "iters": _format_column(summary, "iterations", str),
        **{name: _format_column(summary, name, spell_value) for name in varying_columns(summary) if name not in MARKS},
        SEARCH_COLUMN: _format_searches(summary),
        "n": spell_seed_counts(summary["n"], summary["seeds"]),
        "accuracy %": _format_intervals(summary, "accuracy_percent", "accuracy_ci95", "accuracy_n", PERCENT),
        **_format_all_differences(summary),
        "parameters": _format_column(summary, "parameters", format_si),
        "FLOPs": _format_column(summary, "flops", format_si),
        "step": _format_column(summary, "training_step_ms", _format_milliseconds),
        "inference": _format_column(summary, "inference_ms", _format_milliseconds),
        "memory": _format_column(summary, "memory_mib", _format_mebibytes),
        "marks": _format_marks(summary),
    }
    return pd.DataFrame({heading: column for heading, column in columns.items() if column is not None})


def _format_mebibytes(size: float) -> str:
    return f"{size:,.0f} MiB" if size >= 1 else f"{size:.2g} MiB"  # never 0 of what is there


def _format_searches(summary: pd.DataFrame) -> pd.Series | None:
    """Returns how each contender was searched for, ``tuned (20 trials), auto epochs``; None if there was no search."""
    found = {TUNED: "tuned {}", AUTO_EPOCHS: "auto {}"}
    columns = [summary[name].map(spell.format, na_action="ignore") for name, spell in found.items() if name in summary]
    if not columns:
        return None
    return pd.concat(columns, axis="columns").apply(lambda row: ", ".join(row.dropna()), axis="columns")


def name_column(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Returns the first column of a table: the contender's ``name``, with the data set where there are several."""
    several = table["dataset"].nunique() > 1
    return {"name": table["dataset"] + ": " + table["name"] if several else table["name"]}


def name_unit(trials: Any) -> str:
    """Returns what n counts of a contender, from its value of `TUNED`: ``study`` if it is tuned, else ``seed``."""
    return "seed" if pd.isna(trials) else "study"


def spell_seed_counts(n: pd.Series, seeds: pd.Series) -> pd.Series:
    """Returns ``3``, and ``2 of 3`` where a number lacks some of the contender's seeds."""
    return n.map(str) + (" of " + seeds.map(str)).where(n < seeds, "")


def cut_interval(value: float, half: float, unit: str = PERCENT) -> tuple[float, float]:
    """Returns the ends of an interval, cut at the bounds of its unit; uncut about a number beyond them."""
    low, high = value - half, value + half
    least, most = BOUNDS.get(unit, (-math.inf, math.inf))
    return (max(low, least), min(high, most)) if least <= value <= most else (low, high)


def format_interval(value: float, half: float, digits: int, unit: str = "", sign: str = "") -> str:
    """Returns ``97.3 ± 0.8``, or where the bounds of the unit cut the interval, ``99.5 [98.1, 100.0]``.

    A number without a half-width stands alone; no number is the empty string.

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


def spell_seeds(seeds: Sequence[int]) -> str:
    """Returns ``seed 0``, ``seeds 0, 1, 2``, ``seeds 0 to 9``."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if len(seeds) > 3 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"


class Quantity(NamedTuple):
    """The number of a string, its unit, and the string without the unit."""

    value: float
    unit: str
    bare: str


def parse_quantity(text: str) -> Quantity | None:
    """Returns 97.3 for ``97.3 ± 0.8``, 28000 for ``28.0K``, 12 in ms for ``12.0 ms``; None for text without a number."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    value = float(match["number"].replace(",", "")) * FACTORS[match["factor"]]
    return Quantity(value, (match["unit"] or "").strip(), match["number"] + match["factor"] + match["rest"])


def split_interval(text: str) -> tuple[str, str, str]:
    """Returns a number, its interval with the space before it, and the rest; ``text`` alone without an interval."""
    match = re.fullmatch(r"(.*?)( ± [\d.,]+| \[[^\]]*\])(.*)", text)
    return (match[1], match[2], match[3]) if match else (text, "", "")


def format_si(number: float) -> str:
    """Returns ``28.0K`` for 28012, ``1.2M`` for 1.2e6."""
    for unit, factor in reversed(FACTORS.items()):
        if unit and number >= factor:
            return f"{number / factor:.1f}{unit}"
    return f"{number:g}"


def _format_column(summary: pd.DataFrame, column: str, show: Callable[[Any], str], empty: str = "") -> pd.Series | None:
    """Returns a column as strings; None where the summary has no such column."""
    if column not in summary:
        return None
    return summary[column].astype(object).map(lambda value: empty if pd.isna(value) else show(value))


def _format_intervals(
    summary: pd.DataFrame, column: str, half_column: str, n: str, unit: str, sign: str = ""
) -> pd.Series | None:
    """Returns ``97.3 ± 0.8``, with the number of seeds where it differs from the row's."""
    if column not in summary:
        return None
    numbers = zip(summary[column], summary[half_column], strict=True)
    strings = pd.Series([format_interval(value, half, 1, unit, sign) for value, half in numbers], index=summary.index)
    seeds = summary.get(n, summary["n"])
    fewer = (seeds != summary["n"]).fillna(False) & strings.ne("")
    return strings + (" (n=" + seeds.astype(str) + ")").where(fewer, "")


def _format_marks(summary: pd.DataFrame) -> pd.Series | None:
    """Returns the marks of each contender by their names; None where no contender has one."""
    marks = marks_of(summary)
    return marks.map(lambda marks: ", ".join(mark.name.replace("_", " ") for mark in marks)) if marks.any() else None


def _format_all_differences(summary: pd.DataFrame) -> dict[str, pd.Series | None]:
    """Returns the columns of differences to each kind of baseline."""
    kinds = baseline_kinds(summary)
    columns: dict[str, pd.Series | None] = {}
    for kind in kinds:
        needed = "seeds needed" if len(kinds) == 1 else f"seeds needed vs {kind}"
        columns |= {f"vs {kind}": _format_differences(summary, kind), needed: _format_seeds_needed(summary, kind)}
    return columns


def _format_differences(summary: pd.DataFrame, kind: str) -> pd.Series | None:
    """Returns ``-0.6 ± 1.3`` with the signs of `describe_difference`; None where the summary has no such column."""
    points, half, n = (f"difference_{name}.{kind}" for name in ("points", "ci95", "n"))
    strings = _format_intervals(summary, points, half, n, POINTS, "+z")
    if strings is None:
        return None
    is_tuned = summary[TUNED].notna() if TUNED in summary else pd.Series(False, index=summary.index)
    differences = zip(
        strings, *(summary[f"difference_{name}.{kind}"] for name in ("verdict", "n", "unlike")), is_tuned, strict=True
    )
    return pd.Series([describe_difference(*difference) for difference in differences], index=strings.index)


def describe_difference(text: str, verdict: Any, n: Any, unlike: Any, is_tuned: bool = False) -> str:
    """Returns a difference with its signs: too few seeds for a test, significant (`SIGNIFICANT`), or between unlike trainings.

    Args:
        n: the seeds that both have; of tuned contenders, the studies.
    """
    if verdict == Outcome.NOT_TESTED:
        one, several = ("study", "studies") if is_tuned else ("seed", "seeds")
        text = f"{text.removesuffix(f' (n={n})')} (not tested, {n} {one if n == 1 else several})"
    return text + (SIGNIFICANT if verdict == Outcome.DIFFERENT else "") + (f" {UNLIKE.sign}" if text and unlike else "")


def _format_seeds_needed(summary: pd.DataFrame, kind: str) -> pd.Series | None:
    """Returns the seeds that would show each difference that is not significant; None where all are."""
    verdicts = summary.get(f"difference_verdict.{kind}")
    if verdicts is None or not (verdicts == Outcome.NOT_SIGNIFICANT).any():
        return None
    columns = (summary[f"difference_{name}.{kind}"] for name in ("seeds_needed", "images_needed"))
    needed = zip(verdicts, *columns, strict=True)
    return pd.Series([spell_seeds_needed(*difference) for difference in needed], index=summary.index)


def spell_seeds_needed(verdict: Any, seeds: Any, images: Any = None) -> str:
    """Returns the seeds that would show a difference, ``12`` or ``> 100``; empty for a significant one.

    Args:
        images: the test images to add if no number of seeds is enough: ``> 100, or 4,200 more images``.
    """
    if verdict != Outcome.NOT_SIGNIFICANT:
        return ""
    if not pd.isna(seeds):
        return str(seeds)
    return (
        MORE_SEEDS if pd.isna(images) else f"{MORE_SEEDS}; {MOST_SEEDS} with {_round_up(int(images)):,} {IMAGES_NEEDED}"
    )


def _round_up(count: int) -> int:
    """Returns a count rounded up to two significant digits: it is an estimate."""
    unit = 10 ** max(0, len(str(count)) - 2)
    return -(-count // unit) * unit


def parameter_ratios(summary: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Returns kind of baseline -> the least and the greatest ratio of its parameters to its capsule network's."""
    if "parameters" not in summary:
        return {}
    parameters = summary.set_index("contender")["parameters"].astype(float)
    extremes = {}
    for kind in baseline_kinds(summary):
        beside = summary.dropna(subset=BASELINE + kind)
        ratios = beside[BASELINE + kind].map(parameters).to_numpy() / beside["parameters"].astype(float).to_numpy()
        known = ratios[np.isfinite(ratios)]
        if len(known):
            extremes[kind] = (float(known.min()), float(known.max()))
    return extremes


def describe_sizes(summary: pd.DataFrame) -> list[str]:
    """Returns a sentence a kind of baseline: ``Vs resnet: 0.23 times the parameters of the capsule network.``"""
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
