"""The section of ``--by NAME,...``: what a choice does in each network, over all that was varied beside it."""

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
    HOLDS,
    PERCENT,
    POINTS,
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
"""A value of what is asked for, or of several a combination."""

AGAINST = "against."
"""Begins the columns of the value that a row is compared with."""

WITHIN = "within"
"""The column of the network that a row is about; empty where the network follows from the value."""

ALL, UNKNOWN = "all", object()
"""All training images, as a value of ``train_size``; and the default of what has none that is known."""

COSTS = {"FLOPs": FLOPS, "step ms": STEP_TIME}
OF_EACH = ("cell", "seed")
"""Names that tell cells of one contender apart: a difference is over these, not between them."""

NOT_VARIED = {"cell", "contender", "seed", "value", "step", *COSTS}


def _table(material: Material) -> pd.DataFrame:
    """One row a network and value of what is asked for (a combination of values, of several), the one compared with first."""
    if not material.by:
        raise NoDataError("a choice", "was not asked about")
    by = [_column(name, material.cells) for name in material.by]
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

    lines = [line for name, own in _networks(cells, by, material) for line in _lines(name, own, by, material)]
    return pd.DataFrame(lines).astype(
        {"difference_seeds_needed": "Int64", **{mark.name: "boolean" for mark in FOUND_BY}}
    )


def _choose_number(material: Material, number: tuple[str, str, str]) -> pd.DataFrame:
    """Returns the rows of one measure, metric and condition."""
    measure, metric, condition = number
    rows = material.rows
    return material.select_rows(
        (rows["measure"] == measure) & (rows["metric"] == metric) & (rows["condition"] == condition)
    )


def _networks(cells: pd.DataFrame, by: list[str], material: Material) -> list[tuple[str, pd.DataFrame]]:
    """The cells of each network, in the order of the headline table.

    They are all together where the network follows from what is asked for, as from the routing.
    """
    if "network" in by or (cells.groupby(by)["network"].nunique() == 1).all():
        return [("", cells)]
    blocks = {str(name): own for name, own in cells.groupby("network")}
    return [(name, blocks[name]) for name in dict.fromkeys(material.summary["network"]) if name in blocks]


def _lines(network: str, cells: pd.DataFrame, by: list[str], material: Material) -> list[dict[str, Any]]:
    """The rows of one network."""
    # What CNNs are sized after is a setting among them, and nothing that capsule networks have.
    settings = [name for name in _settings(cells, by) if name != TARGET or cells[TARGET].notna().all()]
    setting = cells.groupby(settings, dropna=False).ngroup() if settings else 0
    cells = cells.assign(setting=setting)
    # Of each value: a row a seed, a column a setting of all else.
    numbers = {key: own.pivot_table(index="seed", columns="setting", values="value") for key, own in cells.groupby(by)}
    common = sorted(set.intersection(*(set(own.columns) for own in numbers.values())))
    if common:
        numbers = {key: own[common] for key, own in numbers.items()}
    step = cells["step"].max()
    levels = _in_order(cells, by)
    first = _compared_with(cells, by, levels, material)
    medians = {key: own[list(COSTS)].median() for key, own in cells.groupby(by)}
    contenders = {key: dict(zip(own["setting"], own["contender"], strict=True)) for key, own in cells.groupby(by)}
    made: list[dict[str, Any]] = []
    for key in sorted(levels, key=lambda level: level != first):
        own = numbers[key]
        line: dict[str, Any] = {WITHIN: network, **dict(zip(by, key, strict=True))}
        line |= {f"{AGAINST}{name}": level for name, level in zip(by, first, strict=True)}
        line |= {"n": len(own), "settings": own.shape[1]}
        line |= _marks([contenders[key][setting] for setting in own], material)
        line |= _mean("accuracy %", own.mean(axis="columns"), step / own.shape[1])
        apart = _apart(own, numbers[first])
        pairs = [(contenders[key][setting], contenders[first][setting]) for setting in apart] if key != first else []
        line |= {"difference_settings": apart.shape[1], **_difference(apart, pairs, step, material.verdicts)}
        line |= {str(heading): cost for heading, cost in medians[key].dropna().items()}
        made.append(line)
    return made


def _marks(contenders: list[str], material: Material) -> dict[str, Any]:
    """The seeds that contenders were to have, and each mark that one of them has; empty where that is not known of all."""
    own = material.summary[material.summary["contender"].isin(contenders)]
    found = {mark.name: own[mark.name].any(skipna=False) for mark in FOUND_BY}
    return {"seeds": int(own["seeds"].max()), **found}


def _in_order(cells: pd.DataFrame, by: list[str]) -> list[Level]:
    """The values, or their combinations: numbers by size, others in the order in which they were asked for."""
    order: dict[str, list[Any]] = {}
    for name in by:
        values = list(dict.fromkeys(cells[name]))
        numeric = all(isinstance(each, int | float) for each in values if each != ALL)
        order[name] = sorted(values, key=lambda each: math.inf if each == ALL else each) if numeric else values
    levels = set(cells[by].itertuples(index=False, name=None))
    return sorted(levels, key=lambda level: [order[name].index(each) for name, each in zip(by, level, strict=True)])


def _compared_with(cells: pd.DataFrame, by: list[str], levels: list[Level], material: Material) -> Level:
    """The default, that of most of the contenders where these differ in it; the first value where it is not among them."""
    defaults = [material.defaults.get(str(name), {}) for name in cells.drop_duplicates("contender")["contender"]]
    usual = Counter(tuple(_default(known, name) for name in by) for known in defaults)
    there = [level for level in levels if usual[level]]
    return max(there, key=lambda level: usual[level]) if there else levels[0]


def _default(known: Mapping[str, Any], name: str) -> Any:
    return ALL if name == "train_size" and name in known else known.get(name, UNKNOWN)


def _column(name: str, cells: pd.DataFrame) -> str:
    """The column that a user names."""
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
    found = [each for each in described if wanted in (each, strip_component(each))]
    if not found:
        flags = {field: flag for flag, field in asked_fields().items()}
        others = {each for each in described if each not in ("contender", *OF_EACH) and not each.startswith("code.")}
        known = sorted({flags.get(each, strip_component(each)) for each in others})
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


def _mean(name: str, of_seeds: pd.Series, step: float) -> dict[str, float]:
    mean, half = estimate_interval(of_seeds.to_list(), step)
    return {name: 100 * mean, f"{name}, ci95": 100 * half}


def _difference(apart: pd.DataFrame, pairs: list[tuple[str, str]], step: float, verdicts: Verdicts) -> dict[str, Any]:
    """What is said of a value: of one setting it is the verdict on that pair of contenders, of several one on their mean.

    Args:
        apart: the differences, a row a seed, a column a setting.
        pairs: the contenders of each setting; none for the value that others are compared with.
        step: of the accuracies.
    """
    verdict = None
    if len(pairs) == 1:
        verdict = verdicts.of_accuracy(*pairs[0])
    elif pairs and len(apart):
        of_seeds = apart.mean(axis="columns")
        verdict = verdicts.judge(paired_seeds(of_seeds.to_list(), [0.0] * len(of_seeds), step / len(pairs)))
    if verdict is None:
        return {
            "difference": math.nan, "difference, ci95": math.nan, "difference_n": 0, "difference_p": math.nan,
            "difference_verdict": "", "difference_seeds_needed": None, "difference_unlike": "",
        }  # fmt: skip
    return {
        "difference": 100 * verdict.difference.mean,
        "difference, ci95": 100 * verdict.half,
        "difference_n": verdict.difference.seeds,
        "difference_p": verdict.p,
        "difference_verdict": str(verdict.outcome),
        "difference_seeds_needed": verdict.seeds_needed,
        "difference_unlike": ", ".join(sorted({fact for pair in pairs for fact in verdicts.unlike(*pair)})),
    }


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    by = [str(name).removeprefix(AGAINST) for name in table if str(name).startswith(AGAINST)]
    levels, others = (
        [" / ".join(map(spell_value, line)) for line in table[columns].itertuples(index=False)]
        for columns in (by, [AGAINST + name for name in by])
    )
    shown: dict[str, Any] = {"network": table[WITHIN].map(shorten_name)} if table[WITHIN].any() else {}
    shown |= {
        " / ".join(map(strip_component, by)): [
            f"{level} {said}".rstrip() for level, said in zip(levels, said_of(table), strict=True)
        ],
        "n": spell_seed_counts(table["n"], table["seeds"]),
        "settings": table["settings"].map(str),
        "accuracy %": [
            format_interval(*each, 1, PERCENT)
            for each in zip(table["accuracy %"], table["accuracy %, ci95"], strict=True)
        ],
    }
    differences = [_described(row) for row in table.to_dict("records")]
    if len(set(others)) == 1:
        shown[f"against {others[0]}"] = differences
    else:
        shown |= {"difference": differences, "against": others}
    if (table["difference_verdict"] == Outcome.NOT_SIGNIFICANT).any():
        needed = zip(table["difference_verdict"], table["difference_seeds_needed"], strict=True)
        shown["seeds needed"] = [spell_seeds_needed(*each) for each in needed]
    compared = table["difference_n"] > 0
    if (table["difference_settings"] != table["settings"])[compared].any():
        shown["of settings"] = [str(count) for count in table["difference_settings"]]
    for heading, show in {"FLOPs": format_si, "step ms": "{:.3g}".format}.items():
        if heading in table:
            shown[heading] = [show(number) if pd.notna(number) else "" for number in table[heading]]
    return pd.DataFrame(shown)


def _described(row: dict[Any, Any]) -> str:
    if pd.isna(row["difference"]):
        return ""
    shown = format_interval(row["difference"], row["difference, ci95"], 2, POINTS, "+z")
    return describe_difference(shown, row["difference_verdict"], row["difference_n"], row["difference_unlike"])


SECTION = Section(
    name="effects",
    title="What a choice does",
    caption=(
        "Test accuracy of each value in each network, the mean over settings of all else that was varied there: those that all "
        "values have, or where there are none, its own. The difference, in points, is to the default, or where that is not "
        "among them to the first value, over the settings that both have, paired over seeds; of one setting it has "
        "the verdict on these two contenders, which is the same in all of the report.",
        "The 95 % interval of an accuracy is over n seeds, that of a difference adjusted for its family.",
        About(
            HOLDS,
            f"{HOLDS}: significantly different, p < {ALPHA:g} among all differences of its family, of "
            f"{FEWEST_SEEDS} seeds or more.",
        ),
        AboutColumn("seeds needed", "Seeds needed: how many would show the difference."),
        AboutColumn("FLOPs", "FLOPs are medians."),
        AboutColumn("step ms", "Times of a step are medians."),
    ),
    table=_table,
    readable=_readable,
)
