"""The section on budget curves: the best validation accuracy of k trials against k, and who leads at a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from capsbench.presenting.figures.curves import BAND, get_line_style
from capsbench.presenting.figures.figure import Picture, finish_picture, wrap_panels
from capsbench.presenting.figures.style import COLUMN, PAGE, THIN, in_style
from capsbench.presenting.format import PERCENT
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section
from capsbench.presenting.tuned import identify_contender, is_of_search, number_trial
from capsbench.records.record import Record
from capsbench.records.tuning.trials import read_validation
from capsbench.reporting.sections.budget import groups_of
from capsbench.stats.bands import MOST_DRAWS
from capsbench.stats.budgets import BudgetCurve, estimate_budget_curve, find_leads

BUDGETS = (1, 2, 5, 10, 20, 50, 100)
"""The budgets at which the table says who leads, as far as there are so many trials."""


def collect_performances(material: Material) -> dict[str, list[float]]:
    """Returns tuned contender -> the validation accuracy of each of its trials, in order; nan for one that failed.

    Of more than `MOST_DRAWS` trials the first ones count. Of a contender some of whose trials are not on record there are none,
    since these may be missing for what they were.

    Raises NoDataError without two independent trials of a contender that classifies: a sampler that learns from earlier trials
    has none.
    """
    performances: dict[str, list[float]] = {}
    for record in material.tuned:
        contender = identify_contender(record)
        tuning = record.tuning
        if contender in performances or tuning is None or tuning.sampler != "random":
            continue
        trials = [trial for trial in material.trials if is_of_search(trial, tuning)]
        if 1 < len(trials) == tuning.studies * tuning.trials and any(
            "validation_accuracy" in epoch for trial in trials for epoch in trial.history
        ):
            first = sorted(trials, key=_find_number)[:MOST_DRAWS]
            performances[contender] = list(map(_read_accuracy, first))
    if not performances:
        raise NoDataError("a search by random settings", "is not on record")
    order = [name for name in material.summary["contender"] if name in performances]
    return {name: performances[name] for name in order}


def _read_accuracy(trial: Record) -> float:
    validation = read_validation(trial)
    return validation if math.isfinite(validation) else math.nan


def _find_number(trial: Record) -> int:
    assert trial.tuning is not None
    return number_trial(trial.tuning)


def build_table(material: Material) -> pd.DataFrame:
    """Returns one row a budget of training, number of trials and contender: the estimate, the ends of the band, and who leads."""
    performances = collect_performances(material)
    summary = material.summary.set_index("contender")
    lines: list[dict[str, Any]] = []
    for group in groups_of(material):  # a contender with more epochs or images leads nobody
        curves = {
            name: estimate_budget_curve(values, [k for k in BUDGETS if k <= len(values)])
            for name, values in performances.items()
            if name in group.contenders.index
        }
        lines += _describe_budgets(group.title, curves, summary) if curves else []
    return pd.DataFrame(lines)


def _describe_budgets(on: str, curves: dict[str, BudgetCurve], summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns the rows of the contenders of one budget of training, which have as many trials each."""
    leads = {lead.budget: lead for lead in find_leads(curves)} if len(curves) > 1 else {}
    lines = []
    for place, budget in enumerate(point.budget for point in next(iter(curves.values())).points):
        for name, curve in curves.items():
            point, lead = curve.points[place], leads.get(budget)
            lines.append(
                {
                    "on": on,
                    "dataset": summary["dataset"][name],
                    "budget": budget,
                    "contender": name,
                    "name": summary["label"][name],
                    "trials": curve.trials,
                    "validation %": 100 * point.estimate,
                    "from %": 100 * point.worse,
                    "to %": 100 * point.better,
                    "is_within_reach": budget <= curve.reach,
                    "may_lead": lead is not None and name in lead.candidates,
                    "leads": lead is not None and name == lead.leader,
                    "trials_needed": None if lead is None else lead.trials_needed,
                }
            )
    return lines


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns one row a budget: the leader, or who may lead, and the trials with which it can be decided."""
    lines = []
    several = table["on"].nunique() > 1
    for (on, budget), rows in table.groupby(["on", "budget"], sort=False):
        leader, candidates = rows[rows["leads"]], rows[rows["may_lead"]]
        needed = rows["trials_needed"].dropna()
        line: dict[str, Any] = {"trials of each": str(budget)}
        if several:
            line = {"on": str(on), **line}
        line["leads"] = leader["name"].iloc[0] if len(leader) else "undecided"
        line["may lead"] = "" if len(leader) else _list_names(candidates["name"].to_list(), len(rows))
        line["best validation accuracy, median %"] = "; ".join(map(_spell_estimate, rows.to_dict("records")))
        line["can be decided with"] = f"{int(needed.max())} trials" if len(needed) else ""
        lines.append(line)
    return pd.DataFrame(lines)


def _list_names(names: Sequence[str], count: int) -> str:
    return "any of them" if len(names) == count and count > 2 else "; ".join(names)


def _spell_estimate(row: dict[Any, Any]) -> str:
    middle = "unknown" if pd.isna(row["validation %"]) else f"{row['validation %']:.1f}"
    return f"{row['name']} {middle} [{row['from %']:.1f}, {row['to %']:.1f}]"


@in_style()
def draw_curves(material: Material) -> Picture:
    """Draws the budget curve of each contender with its band, a panel a data set."""
    performances = collect_performances(material)
    looks = {row["contender"]: row for row in material.summary.to_dict("records")}
    datasets = list(dict.fromkeys(looks[name]["dataset"] for name in performances))
    width = COLUMN if len(datasets) == 1 else PAGE
    figure, panels = wrap_panels(len(datasets), 2, 2.4, width, sharey=True)
    for axes, dataset in zip(panels, datasets, strict=True):
        for name, values in performances.items():
            if looks[name]["dataset"] != dataset:
                continue
            curve = estimate_budget_curve(values)
            points = pd.DataFrame(curve.points, dtype=float)
            # Beyond the reach no trial limits the curve from above, and a band would fill the picture.
            points["better"] = points["better"].where(points["budget"] <= curve.reach).ffill(limit=1)
            style = get_line_style(looks[name]) | dict(marker="", linewidth=1.4)
            axes.step(points["budget"], 100 * points["estimate"], where="post", **style)
            axes.fill_between(
                points["budget"],
                100 * points["worse"],
                100 * points["better"],
                step="post",
                color=style["color"],
                alpha=BAND,
                linewidth=0,
            )
            # Bands overlap: edges have the dashes of their curve.
            for edge in ("worse", "better"):
                edge_style = dict(color=style["color"], linestyle=style["linestyle"], linewidth=THIN)
                axes.step(points["budget"], 100 * points[edge], where="post", **edge_style)
            axes.axvline(curve.reach + 1, color="0.6", linewidth=0.6, linestyle=":")
        axes.set(xlabel="trials of each contender", ylabel=f"best validation accuracy ({PERCENT})")
        axes.set_title(str(dataset) if len(datasets) > 1 else "")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    caption = (
        "Median of the best validation accuracy of k trials, with simultaneous 95 % bands. Left of the dotted line the trials "
        "limit a curve on both sides. Beyond it only the lower edge of a band is drawn: more trials could reach any accuracy. A "
        "curve ends where it would only be the best accuracy observed."
    )
    order = pd.Series([looks[name]["label"] for name in performances])
    return finish_picture(figure, "Performance against the number of trials", caption, order)


SECTION = Section(
    name="budgets",
    title="Who leads at which tuning budget",
    caption=(
        "A contender leads at a budget of k trials if its 95 % band lies beyond those of all others; otherwise the budget is "
        "undecided. In brackets: the band of the median of the best validation accuracy of k trials (Lourie 2024), which holds "
        "for all budgets at once. It is about validation accuracy, on the images that chose the winners. "
        f"Of more than {MOST_DRAWS} trials the first ones count."
    ),
    table=build_table,
    readable=format_table,
    pictures={"budget-curves": draw_curves},
)
