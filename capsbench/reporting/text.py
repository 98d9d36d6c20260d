"""A summary for people: strings, and Markdown of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pandas as pd

from capsbench.reporting.tables import varying_columns

CAPTION = (
    "accuracy: test images, mean over n seeds ± half-width of the 95 % t-interval; vs matched: points to the CNN of "
    "equal parameters, paired over seeds; FLOPs: inference of an image; step and inference: p50 of a batch; "
    "memory: peak of a training step"
)


def readable(summary: pd.DataFrame) -> pd.DataFrame:
    """A summary (`capsbench.reporting.tables.summary`) as strings, such as ``97.3 ± 0.8``, under short headings."""
    made = {
        "dataset": _each(summary, "dataset", str),
        "train": _each(summary, "train_size", str, empty="all"),
        "size": _each(summary, "size", str),
        "network": _each(summary, "network", short),
        "routing": _each(summary, "routing", short),
        "iters": _each(summary, "iterations", str),
        **{name: _each(summary, name, value) for name in varying_columns(summary)},
        "n": _each(summary, "n", str),
        "accuracy %": _with_interval(summary, "accuracy", "accuracy_percent", "{:.1f}"),
        "vs matched": _with_interval(summary, "difference", "difference_points", "{:+z.1f}"),
        "parameters": _each(summary, "parameters", si),
        "FLOPs": _each(summary, "flops", si),
        "step": _each(summary, "training_step_ms", _milliseconds),
        "inference": _each(summary, "inference_ms", _milliseconds),
        "memory": _each(summary, "memory_mib", "{:,.0f} MiB".format),
    }
    return pd.DataFrame({heading: column for heading, column in made.items() if column is not None})


def markdown(table: pd.DataFrame, numbers: Collection[str] | None = None) -> str:
    """A table of strings as Markdown, the columns of ``numbers`` to the right; those of a summary follow its names."""
    headings = list(table.columns)
    numbers = {"train", "iters", *headings[headings.index("n") :]} if numbers is None else numbers
    rule = ["---:" if heading in numbers else "---" for heading in headings]
    lines = [headings, rule, *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def names(table: pd.DataFrame) -> dict[str, pd.Series]:
    """The first column of a table for people: the contender's ``name``, with the data set where there are several."""
    several = table["dataset"].nunique() > 1
    return {"name": table["dataset"] + ": " + table["name"] if several else table["name"]}


def with_interval(value: float, half: float, digits: int) -> str:
    """``97.3 ± 0.8``; without a half-width the number alone, and nothing where there is none."""
    if pd.isna(value):
        return ""
    return f"{value:.{digits}f}" + ("" if pd.isna(half) else f" ± {half:.{digits}f}")


def si(number: float) -> str:
    """``28012`` -> ``28.0K``, ``1.2e6`` -> ``1.2M``."""
    for unit, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if number >= factor:
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
    fewer = (seeds != summary["n"]).fillna(False)
    return mean + half + (" (n=" + seeds.astype(str) + ")").where(fewer, "")


def value(value: Any) -> str:
    """A field's or an option's value: ``9.0`` -> ``9``."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _milliseconds(value: float) -> str:
    return f"{value:.2f} ms" if value < 10 else f"{value:,.1f} ms"
