"""A summary for people: strings, and what the strings of a table mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from capsbench.presenting.contenders import varying_columns
from capsbench.presenting.marks import UNLIKE, marks_of
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

CAPTION = (
    "accuracy: test images, mean over n seeds ± half-width of the 95 % t-interval; vs matched: points to the CNN of "
    "equal parameters, paired over seeds, the 95 % interval adjusted for all differences of the table; seeds needed: how many "
    "would show a difference of this size and spread; FLOPs: inference of an image; step and inference: p50 of a batch; "
    "memory: peak of a training step"
)

FACTORS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}

_QUANTITY = re.compile(
    r"(?P<number>[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?P<factor>[KMGT]?)(?P<unit> ?(?:ms|s|µs|MiB|%))?"
    r"(?P<rest>(?: of \d+)?(?: ± \d[\d,.]*)?(?: ?\((?:n=\d+|unverified|not tested, \d+ seeds?)\)| ?[*†§])*)"
)


def readable(summary: pd.DataFrame) -> pd.DataFrame:
    """A summary (`capsbench.presenting.contenders.summary`) as strings, such as ``97.3 ± 0.8``, under short headings."""
    made = {
        "dataset": _each(summary, "dataset", str),
        "train": _each(summary, "train_size", str, empty="all"),
        "size": _each(summary, "size", str),
        "network": _each(summary, "network", short),
        "routing": _each(summary, "routing", short),
        "iters": _each(summary, "iterations", str),
        **{name: _each(summary, name, value) for name in varying_columns(summary)},
        "n": of_seeds(summary["n"], summary["seeds"]),
        "accuracy %": _with_interval(summary, "accuracy", "accuracy_percent", "{:.1f}"),
        "vs matched": _differences(summary),
        "seeds needed": _seeds_needed(summary),
        "parameters": _each(summary, "parameters", si),
        "FLOPs": _each(summary, "flops", si),
        "step": _each(summary, "training_step_ms", _milliseconds),
        "inference": _each(summary, "inference_ms", _milliseconds),
        "memory": _each(summary, "memory_mib", "{:,.0f} MiB".format),
        "marks": _marks(summary),
    }
    return pd.DataFrame({heading: column for heading, column in made.items() if column is not None})


def names(table: pd.DataFrame) -> dict[str, pd.Series]:
    """The first column of a table for people: the contender's ``name``, with the data set where there are several."""
    several = table["dataset"].nunique() > 1
    return {"name": table["dataset"] + ": " + table["name"] if several else table["name"]}


def of_seeds(n: pd.Series, seeds: pd.Series) -> pd.Series:
    """``3``, and ``2 of 3`` where a number is not of all of the contender's seeds."""
    return n.map(str) + (" of " + seeds.map(str)).where(n < seeds, "")


def with_interval(value: float, half: float, digits: int) -> str:
    """``97.3 ± 0.8``; without a half-width the number alone, and nothing where there is none."""
    if pd.isna(value):
        return ""
    return f"{value:.{digits}f}" + ("" if pd.isna(half) else f" ± {half:.{digits}f}")


def seeds(each: Sequence[int]) -> str:
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


def quantity(text: str) -> Quantity | None:
    """``97.3 ± 0.8`` -> 97.3, ``28.0K`` -> 28000, ``12.0 ms`` -> 12 in ms; None for what is not a number."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        return None
    value = float(found["number"].replace(",", "")) * FACTORS[found["factor"]]
    return Quantity(value, (found["unit"] or "").strip(), found["number"] + found["factor"] + found["rest"])


def si(number: float) -> str:
    """``28012`` -> ``28.0K``, ``1.2e6`` -> ``1.2M``."""
    for unit, factor in reversed(FACTORS.items()):
        if unit and number >= factor:
            return f"{number / factor:.1f}{unit}"
    return f"{number:g}"


def short(name: str) -> str:
    """A user's own part goes by its attribute: ``my_package.my_module:MyRouting`` -> ``MyRouting``."""
    return name.rpartition(":")[2]


def option(column: str) -> str:
    """A column's name without its component: ``routing.beta`` -> ``beta``."""
    return column.removeprefix("network.").removeprefix("routing.").removeprefix("loss.")


def _each(summary: pd.DataFrame, column: str, show: Callable[[Any], str], empty: str = "") -> pd.Series | None:
    """A column as strings; None where the summary has no such column."""
    if column not in summary:
        return None
    return summary[column].astype(object).map(lambda value: empty if pd.isna(value) else show(value))


def _with_interval(summary: pd.DataFrame, measured: str, column: str, form: str) -> pd.Series | None:
    """``97.3 ± 0.8``; the number of seeds is added where it is not that of the row."""
    mean, half = _each(summary, column, form.format), _each(summary, f"{measured}_ci95", " ± {:.1f}".format)
    if mean is None or half is None:
        return None
    seeds = summary.get(f"{measured}_n", summary["n"])
    fewer = (seeds != summary["n"]).fillna(False) & mean.ne("")
    return mean + half + (" (n=" + seeds.astype(str) + ")").where(fewer, "")


def _marks(summary: pd.DataFrame) -> pd.Series | None:
    """The marks of each contender by their names; None where nobody has one."""
    marks = marks_of(summary)
    return marks.map(lambda own: ", ".join(mark.name.replace("_", " ") for mark in own)) if marks.any() else None


def _differences(summary: pd.DataFrame) -> pd.Series | None:
    """``-0.6 ± 1.3``, with `HOLDS` behind what is a difference, and the sign of trainings that differ in more than that."""
    shown = _with_interval(summary, "difference", "difference_points", "{:+z.1f}")
    if shown is None or "difference_verdict" not in summary:
        return shown
    described = zip(shown, *(summary[f"difference_{name}"] for name in ("verdict", "n", "unlike")), strict=True)
    return pd.Series([_described(*each) for each in described], index=shown.index)


def _described(shown: str, verdict: Any, n: Any, unlike: Any) -> str:
    if verdict == Outcome.NOT_TESTED:
        shown = f"{shown.removesuffix(f' (n={n})')} (not tested, {n} seed{'' if n == 1 else 's'})"
    return shown + (HOLDS if verdict == Outcome.DIFFERENT else "") + (f" {UNLIKE.sign}" if unlike and shown else "")


def _seeds_needed(summary: pd.DataFrame) -> pd.Series | None:
    """How many seeds would show each difference that is not significant; None where there is none."""
    if "difference_verdict" not in summary or not (summary["difference_verdict"] == Outcome.NOT_SIGNIFICANT).any():
        return None
    needed = zip(summary["difference_verdict"], summary["difference_seeds_needed"], strict=True)
    return pd.Series([needed_seeds(*each) for each in needed], index=summary.index)


def needed_seeds(verdict: Any, seeds: Any) -> str:
    """How many seeds would show a difference, such as ``12`` or ``> 100``; empty but for one that is not significant."""
    if verdict != Outcome.NOT_SIGNIFICANT:
        return ""
    return MORE_SEEDS if pd.isna(seeds) else str(seeds)


def value(value: Any) -> str:
    """A field's or an option's value: ``9.0`` -> ``9``."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _milliseconds(value: float) -> str:
    return f"{value:.2f} ms" if value < 10 else f"{value:,.1f} ms"
