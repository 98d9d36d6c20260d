"""The section of ``--by NAME,...``: what a choice does, over all that was varied beside it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from capsbench.errors import Kind, UsageError
from capsbench.presenting.filter import column
from capsbench.presenting.format import option, si, value, with_interval
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section
from capsbench.stats.differences import ALPHA, FEWEST_SEEDS, holm, interval, paired_seeds
from capsbench.stats.steps import step_of

COSTS = {"FLOPs": ("speed", "flops", "inference"), "step ms": ("speed", "latency p50", "training step")}
OF_EACH = ("cell", "seed")
"""Names that tell cells of one contender apart: a difference is over these, not between them."""

NOT_VARIED = {"cell", "contender", "seed", "network.parameters", "value"}


def _table(material: Material) -> pd.DataFrame:
    """One row a value of what is asked for (a combination of values, of several): accuracy, and the difference to the first."""
    if not material.by:
        raise NoDataError("a choice", "was not asked about")
    rows = material.rows
    by = [_column(name, material.cells) for name in material.by]
    accuracies = material.chosen(
        (rows["measure"] == "accuracy") & (rows["metric"] == "accuracy") & (rows["condition"] == "test")
    )
    cells = material.cells.merge(accuracies[["cell", "value"]], on="cell").dropna(subset=by)
    if cells.empty:
        raise NoDataError(f"the accuracy of a network with {' and '.join(material.by)}")
    settings = _settings(cells, by)
    setting = cells.groupby(settings, dropna=False).ngroup() if settings else 0
    cells = cells.assign(setting=setting)
    for heading, (measure, metric, condition) in COSTS.items():
        chosen = (rows["measure"] == measure) & (rows["metric"] == metric) & (rows["condition"] == condition)
        cells = cells.assign(**{heading: cells["cell"].map(material.chosen(chosen).set_index("cell")["value"])})

    # Of each value: a row a seed, a column a setting of all else.
    numbers = {key: own.pivot_table(index="seed", columns="setting", values="value") for key, own in cells.groupby(by)}
    common = sorted(set.intersection(*(set(own.columns) for own in numbers.values())))
    if common:
        numbers = {key: own[common] for key, own in numbers.items()}
    first = next(iter(numbers))
    step = step_of(cells["value"])
    medians = {key: own[list(COSTS)].median() for key, own in cells.groupby(by)}
    made: list[dict[str, Any]] = []
    for key, own in numbers.items():
        line: dict[str, Any] = dict(zip(by, key, strict=True))
        line |= {"n": len(own), "settings": own.shape[1]}
        line |= _mean("accuracy %", own.mean(axis="columns"))
        apart = _apart(own, numbers[first])
        line |= {"difference_settings": apart.shape[1], **_difference(apart if key != first else apart.iloc[:0], step)}
        line |= {str(heading): cost for heading, cost in medians[key].dropna().items()}
        made.append(line)
    table = pd.DataFrame(made)
    table["difference_p"] = holm(table["difference_p"].to_list())
    table["difference_holds"] = (table["difference_p"] < ALPHA) & (table["difference_n"] >= FEWEST_SEEDS)
    return table


def _column(name: str, cells: pd.DataFrame) -> str:
    """The column that a user names."""
    wanted = column(name)
    if wanted in OF_EACH:
        raise UsageError(
            Kind.CONFLICT,
            "differences are averages over seeds",
            flag="by",
            value=name,
            expected="name a field or an option of the contenders",
        )
    described = list(map(str, cells.columns))
    found = [each for each in described if wanted in (each, option(each))]
    if not found:
        known = sorted({option(each) for each in described} - {"contender"})
        raise UsageError(Kind.UNKNOWN, flag="by", value=name, expected=known)
    return found[0]


def _settings(cells: pd.DataFrame, by: list[str]) -> list[str]:
    """What was varied beside: of the cells that have one value, these columns still tell some apart.

    What follows from the value, such as the options of a routing, is none of them.
    """
    others = [str(each) for each in cells.columns if each not in NOT_VARIED and each not in by]
    varied = cells.groupby(by)[others].nunique(dropna=False).max() > 1
    return [each for each in others if varied[each]]


def _apart(own: pd.DataFrame, first: pd.DataFrame) -> pd.DataFrame:
    """Differences to the first value, over the settings and seeds that both have; a row a seed without a gap."""
    both = (own - first).dropna(how="all", axis="columns")
    return both.dropna(how="any", axis="index")


def _mean(name: str, of_seeds: pd.Series) -> dict[str, float]:
    mean, half = interval(of_seeds.to_list())
    return {name: 100 * mean, f"{name}, ci95": 100 * half}


def _difference(apart: pd.DataFrame, step: float) -> dict[str, Any]:
    if apart.empty:
        return {
            "difference": float("nan"),
            "difference, ci95": float("nan"),
            "difference_n": 0,
            "difference_p": float("nan"),
        }
    of_seeds = apart.mean(axis="columns")
    found = paired_seeds(of_seeds.to_list(), [0.0] * len(of_seeds), step / apart.shape[1])
    return {
        "difference": 100 * found.mean,
        "difference, ci95": 100 * found.half,
        "difference_n": found.seeds,
        "difference_p": found.p,
    }


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    by = [str(name) for name in table.columns[: table.columns.get_loc("n")]]
    shown: dict[str, Any] = {
        " / ".join(map(option, by)): [" / ".join(map(value, line)) for line in table[by].itertuples(index=False)],
        "n": table["n"].map(str),
        "settings": table["settings"].map(str),
        "accuracy %": [
            with_interval(*each, 1) for each in zip(table["accuracy %"], table["accuracy %, ci95"], strict=True)
        ],
    }
    first = shown[next(iter(shown))][0]
    numbers = zip(table["difference"], table["difference, ci95"], table["difference_holds"], strict=True)
    shown[f"against {first}"] = [
        ("+" if mean >= 0 else "") + with_interval(mean, half, 2) + ("*" if holds else "") if pd.notna(mean) else ""
        for mean, half, holds in numbers
    ]
    if (table["difference_settings"] != table["settings"])[1:].any():
        shown["of settings"] = [str(count) for count in table["difference_settings"]]
    for heading, show in {"FLOPs": si, "step ms": "{:.3g}".format}.items():
        if heading in table:
            shown[heading] = [show(number) if pd.notna(number) else "" for number in table[heading]]
    return pd.DataFrame(shown)


SECTION = Section(
    name="effects",
    title="What a choice does",
    caption=(
        "Test accuracy of each value, the mean over settings of all else that was varied: those that all values have, or where "
        "there are none, its own. The difference to the first value, in points, is over the settings that both have, paired over "
        f"seeds. ± 95 % t-interval over n seeds. *: a difference, p < {ALPHA:g} after Holm over the table, of {FEWEST_SEEDS} "
        "seeds or more. Costs are medians."
    ),
    table=_table,
    readable=_readable,
)
