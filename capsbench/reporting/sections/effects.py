"""The section of ``--by NAME,...``: the effect of a choice in each network, averaged over all other settings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from capsbench.errors import Kind, UsageError
from capsbench.measures.accuracy.spec import TEST_ACCURACY
from capsbench.measures.cost.spec import FLOPS
from capsbench.measures.speed.spec import STEP_TIME
from capsbench.presenting.caption import About, AboutColumn
from capsbench.presenting.filter import to_field
from capsbench.presenting.format import (
    PERCENT,
    POINTS,
    SIGNIFICANT,
    describe_difference,
    format_interval,
    format_si,
    spell_seed_counts,
    spell_seeds_needed,
)
from capsbench.presenting.marks import FOUND_BY, said_of
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section
from capsbench.presenting.verdicts import Verdicts
from capsbench.presenting.words import shorten_name, spell_value, strip_component
from capsbench.records.cell import TARGET, asked_fields
from capsbench.stats.differences import ALPHA, FEWEST_SEEDS, estimate_interval, paired_seeds
from capsbench.stats.verdicts import Outcome

Level = tuple[Any, ...]
"""A value of the choice, or a combination of values of several choices."""

AGAINST = "against."
"""Prefix of the columns of the value that a row is compared with."""

WITHIN = "within"
"""The column of a row's network; empty if the network follows from the value."""

ALL, UNKNOWN = "all", object()
"""All training images, as a value of ``train_size``; and a default that is not known."""

COSTS = {"FLOPs": FLOPS, "step ms": STEP_TIME}
OF_EACH = ("cell", "seed")
"""Names in which the cells of one contender differ: a difference is an average over them."""

NOT_VARIED = {"cell", "contender", "seed", "value", "step", *COSTS}


def build_table(material: Material) -> pd.DataFrame:
    """Returns one row a network and value of the choice (or combination of values), the one compared with first."""
    if not material.by:
        raise NoDataError("a choice", "was not asked about")
    by = [_find_column(name, material.cells) for name in material.by]
    accuracies = _choose_number(material, TEST_ACCURACY)
    cells = material.cells.merge(material.with_steps(accuracies)[["cell", "value", "step"]], on="cell")
    if "train_size" in by:
        cells["train_size"] = cells["train_size"].astype(object).where(cells["train_size"].notna(), ALL)
    cells = cells.dropna(subset=by)
    if cells.empty:
        raise NoDataError(f"the accuracy of a network with {' and '.join(material.by)}")
    for heading, number in COSTS.items():
        costs = _choose_number(material, number).set_index("cell")["value"]
        cells = cells.assign(**{heading: cells["cell"].map(costs)})

    lines = [
        line for name, block in _split_networks(cells, by, material) for line in _build_lines(name, block, by, material)
    ]
    return pd.DataFrame(lines).astype(
        {
            "difference_seeds_needed": "Int64",
            "difference_images_needed": "Int64",
            **{mark.name: "boolean" for mark in FOUND_BY},
        }
    )


def _choose_number(material: Material, number: tuple[str, str, str]) -> pd.DataFrame:
    """Returns the rows of one measure, metric and condition."""
    measure, metric, condition = number
    rows = material.rows
    return material.select_rows(
        (rows["measure"] == measure) & (rows["metric"] == metric) & (rows["condition"] == condition)
    )


def _split_networks(cells: pd.DataFrame, by: list[str], material: Material) -> list[tuple[str, pd.DataFrame]]:
    """Returns the cells of each network, in the order of the headline table.

    They stay together if the network follows from the choice, as it does from the routing.
    """
    if "network" in by or (cells.groupby(by)["network"].nunique() == 1).all():
        return [("", cells)]
    blocks = {str(name): block for name, block in cells.groupby("network")}
    return [(name, blocks[name]) for name in dict.fromkeys(material.summary["network"]) if name in blocks]


def _build_lines(network: str, cells: pd.DataFrame, by: list[str], material: Material) -> list[dict[str, Any]]:
    """Returns the rows of one network."""
    # What CNNs are sized after is a setting among them, and nothing that capsule networks have.
    settings = [name for name in _find_settings(cells, by) if name != TARGET or cells[TARGET].notna().all()]
    setting = cells.groupby(settings, dropna=False).ngroup() if settings else 0
    cells = cells.assign(setting=setting)
    # Of each value: a row a seed, a column a setting of all else.
    numbers = {
        key: block.pivot_table(index="seed", columns="setting", values="value") for key, block in cells.groupby(by)
    }
    common = sorted(set.intersection(*(set(table.columns) for table in numbers.values())))
    if common:
        numbers = {key: table[common] for key, table in numbers.items()}
    step = cells["step"].max()
    levels = _sort_levels(cells, by)
    first = _find_compared(cells, by, levels, material)
    medians = {key: block[list(COSTS)].median() for key, block in cells.groupby(by)}
    contenders = {key: dict(zip(block["setting"], block["contender"], strict=True)) for key, block in cells.groupby(by)}
    lines: list[dict[str, Any]] = []
    for key in sorted(levels, key=lambda level: level != first):
        table = numbers[key]
        line: dict[str, Any] = {WITHIN: network, **dict(zip(by, key, strict=True))}
        line |= {f"{AGAINST}{name}": level for name, level in zip(by, first, strict=True)}
        line |= {"n": len(table), "settings": table.shape[1]}
        line |= _find_marks([contenders[key][setting] for setting in table], material)
        line |= _estimate_mean("accuracy %", table.mean(axis="columns"), step / table.shape[1])
        differences = _subtract(table, numbers[first])
        pairs = (
            [(contenders[key][setting], contenders[first][setting]) for setting in differences] if key != first else []
        )
        line |= {
            "difference_settings": differences.shape[1],
            **_judge_difference(differences, pairs, step, material.verdicts),
        }
        line |= {str(heading): cost for heading, cost in medians[key].dropna().items()}
        lines.append(line)
    return lines


def _find_marks(contenders: list[str], material: Material) -> dict[str, Any]:
    """Returns the seeds that contenders should have, and each mark of any of them; a mark is empty if unknown for one."""
    summary = material.summary[material.summary["contender"].isin(contenders)]
    marks = {mark.name: summary[mark.name].any(skipna=False) for mark in FOUND_BY}
    return {"seeds": int(summary["seeds"].max()), **marks}


def _sort_levels(cells: pd.DataFrame, by: list[str]) -> list[Level]:
    """Returns the values, or combinations of them: numbers by size, others in the order of the request."""
    order: dict[str, list[Any]] = {}
    for name in by:
        values = list(dict.fromkeys(cells[name]))
        numeric = all(isinstance(value, int | float) for value in values if value != ALL)
        order[name] = sorted(values, key=lambda value: math.inf if value == ALL else value) if numeric else values
    levels = set(cells[by].itertuples(index=False, name=None))
    return sorted(levels, key=lambda level: [order[name].index(value) for name, value in zip(by, level, strict=True)])


def _find_compared(cells: pd.DataFrame, by: list[str], levels: list[Level], material: Material) -> Level:
    """Returns the most frequent default of the contenders; the first value if no default is among the values."""
    defaults = [material.defaults.get(str(name), {}) for name in cells.drop_duplicates("contender")["contender"]]
    usual = Counter(tuple(_find_default(known, name) for name in by) for known in defaults)
    there = [level for level in levels if usual[level]]
    return max(there, key=lambda level: usual[level]) if there else levels[0]


def _find_default(known: Mapping[str, Any], name: str) -> Any:
    return ALL if name == "train_size" and name in known else known.get(name, UNKNOWN)


def _find_column(name: str, cells: pd.DataFrame) -> str:
    """Returns the column that a user names."""
    wanted = to_field(name)
    if wanted in OF_EACH:
        raise UsageError(
            Kind.CONFLICT,
            "differences are averages over seeds",
            flag="by",
            value=name,
            expected="name a field or an option of the contenders",
        )
    described = list(map(str, cells.columns))
    matching = [column for column in described if wanted in (column, strip_component(column))]
    if not matching:
        flags = {field: flag for flag, field in asked_fields().items()}
        others = {
            column for column in described if column not in ("contender", *OF_EACH) and not column.startswith("code.")
        }
        known = sorted({flags.get(column, strip_component(column)) for column in others})
        raise UsageError(Kind.UNKNOWN, flag="by", value=name, expected=known)
    return matching[0]


def _find_settings(cells: pd.DataFrame, by: list[str]) -> list[str]:
    """Returns the other columns that were varied: they differ among cells with the same value.

    Columns that follow from the value, such as the options of a routing, do not.
    """
    others = [str(column) for column in cells.columns if column not in NOT_VARIED and column not in by]
    varied = cells.groupby(by)[others].nunique(dropna=False).max() > 1
    return [column for column in others if varied[column]]


def _subtract(table: pd.DataFrame, first: pd.DataFrame) -> pd.DataFrame:
    """Returns the differences to the first value, over the settings and seeds that both have, a row a complete seed."""
    both = (table - first).dropna(how="all", axis="columns")
    return both.dropna(how="any", axis="index")


def _estimate_mean(name: str, of_seeds: pd.Series, step: float) -> dict[str, float]:
    mean, half = estimate_interval(of_seeds.to_list(), step)
    return {name: 100 * mean, f"{name}, ci95": 100 * half}


def _judge_difference(
    differences: pd.DataFrame, pairs: list[tuple[str, str]], step: float, verdicts: Verdicts
) -> dict[str, Any]:
    """Returns the difference of a value: with one setting, the verdict on that pair of contenders; with several, on their mean.

    Args:
        apart: the differences, a row a seed, a column a setting.
        pairs: the contenders of each setting; none for the value that others are compared with.
        step: of the accuracies.
    """
    verdict = None
    if len(pairs) == 1:
        verdict = verdicts.of_accuracy(*pairs[0])
    elif pairs and len(differences):
        of_seeds = differences.mean(axis="columns")
        verdict = verdicts.judge(paired_seeds(of_seeds.to_list(), [0.0] * len(of_seeds), step / len(pairs)))
    if verdict is None:
        return {
            "difference": math.nan, "difference, ci95": math.nan, "difference_n": 0, "difference_p": math.nan,
            "difference_verdict": "", "difference_seeds_needed": None, "difference_images_needed": None,
            "difference_unlike": "",
        }  # fmt: skip
    return {
        "difference": 100 * verdict.difference.mean,
        "difference, ci95": 100 * verdict.half,
        "difference_n": verdict.difference.seeds,
        "difference_p": verdict.p,
        "difference_verdict": str(verdict.outcome),
        "difference_seeds_needed": verdict.seeds_needed,
        "difference_images_needed": verdict.images_needed,
        "difference_unlike": ", ".join(sorted({fact for pair in pairs for fact in verdicts.unlike(*pair)})),
    }


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    by = [str(name).removeprefix(AGAINST) for name in table if str(name).startswith(AGAINST)]
    levels, others = (
        [" / ".join(map(spell_value, line)) for line in table[columns].itertuples(index=False)]
        for columns in (by, [AGAINST + name for name in by])
    )
    strings: dict[str, Any] = {"network": table[WITHIN].map(shorten_name)} if table[WITHIN].any() else {}
    strings |= {
        " / ".join(map(strip_component, by)): [
            f"{level} {remark}".rstrip() for level, remark in zip(levels, said_of(table), strict=True)
        ],
        "n": spell_seed_counts(table["n"], table["seeds"]),
        "settings": table["settings"].map(str),
        "accuracy %": [
            format_interval(mean, half, 1, PERCENT)
            for mean, half in zip(table["accuracy %"], table["accuracy %, ci95"], strict=True)
        ],
    }
    differences = [_describe_difference(row) for row in table.to_dict("records")]
    if len(set(others)) == 1:
        strings[f"against {others[0]}"] = differences
    else:
        strings |= {"difference": differences, "against": others}
    if (table["difference_verdict"] == Outcome.NOT_SIGNIFICANT).any():
        columns = (table[f"difference_{name}"] for name in ("verdict", "seeds_needed", "images_needed"))
        strings["seeds needed"] = [spell_seeds_needed(*line) for line in zip(*columns, strict=True)]
    compared = table["difference_n"] > 0
    if (table["difference_settings"] != table["settings"])[compared].any():
        strings["of settings"] = [str(count) for count in table["difference_settings"]]
    for heading, show in {"FLOPs": format_si, "step ms": "{:.3g}".format}.items():
        if heading in table:
            strings[heading] = [show(number) if pd.notna(number) else "" for number in table[heading]]
    return pd.DataFrame(strings)


def _describe_difference(row: dict[Any, Any]) -> str:
    if pd.isna(row["difference"]):
        return ""
    interval = format_interval(row["difference"], row["difference, ci95"], 2, POINTS, "+z")
    return describe_difference(interval, row["difference_verdict"], row["difference_n"], row["difference_unlike"])


SECTION = Section(
    name="effects",
    title="What a choice does",
    caption=(
        "Test accuracy of each value in each network: the mean over all other settings that all values have, or over its own if "
        "there are none. The difference, in points, is to the default, or to the first value if the default was not run. It is "
        "over the settings that both have and paired over seeds. With one setting it has the verdict on these two contenders, as "
        "in the rest of the report.",
        "The 95 % interval of an accuracy is over n seeds; that of a difference is adjusted for its family.",
        About(
            SIGNIFICANT,
            f"{SIGNIFICANT}: significantly different, p < {ALPHA:g} after correction for its family, with "
            f"{FEWEST_SEEDS} seeds or more.",
        ),
        AboutColumn("seeds needed", "Seeds needed: how many would show the difference."),
        AboutColumn("FLOPs", "FLOPs are medians."),
        AboutColumn("step ms", "Times of a step are medians."),
    ),
    table=build_table,
    readable=format_table,
)
