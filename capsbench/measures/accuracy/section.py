"""The section of the measure `accuracy`: which classes are hard, and which classes they are taken for."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from capsbench.measures.accuracy.spec import ACCURACY
from capsbench.presenting.caption import About
from capsbench.presenting.figures.figure import (
    Picture,
    describe_spread,
    finish_picture,
    make_panels,
    text_width,
    wrap_panels,
)
from capsbench.presenting.figures.heat import draw_heat
from capsbench.presenting.figures.style import COLUMN, INK, PAGE, SMALL, in_style
from capsbench.presenting.format import PERCENT, format_interval, name_column, spell_seed_counts
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section
from capsbench.presenting.shortlist import choose_contenders, choose_most_accurate

CLASSES, CONFUSIONS = "classes", "confusions"
"""The names of the section and its first picture, and of the second one."""

CLASS = "class "
"""Begins the condition of the accuracy of a class."""

MOST_CLASSES = 20
"""The most classes of a data set in a picture; of more, the table has the pairs that are confused most."""

FEW_CLASSES = "a data set of few classes"
"""What the pictures need."""

MOST_WRITTEN = 10
"""The most classes of a matrix that has room for numbers in its cells."""

MOST_MATRICES = 6
"""The most matrices of a data set; those of several data sets share the limit of all pictures."""

MOST_PAIRS = 3
"""The most pairs of classes that a row of the table names."""

LONGEST_NAME = 12
"""Letters of a class's name in a picture, of which a longer one loses its end."""

LONGEST_LINE = 32
"""Letters of a line of a matrix's title."""

UNKNOWN = "not on record"


def build_table(material: Material) -> pd.DataFrame:
    """Returns one row a contender and class.

    Columns: ``dataset``, ``contender``, ``name``, ``n``, ``seeds``, ``class`` and ``class name``; ``accuracy %`` with
    ``accuracy %, ci95``; ``taken for``, the other class that most of its images are taken for, and ``taken for %``, their
    share. Both are empty where no image is taken for another class; ``predictions`` is false where none are on record.
    """
    means = material.average_seeds(_select_rows(material))
    means["class"] = means["condition"].str.removeprefix(CLASS).astype(int)
    confusions = {name: find_confusion(material, str(name)) for name in means["contender"].unique()}
    lines = []
    for row in means.to_dict("records"):
        confusion, label = confusions[row["contender"]], row["class"]
        taken, share = (None, np.nan) if confusion is None else _find_taken(confusion, label)
        lines.append(
            {
                **{name: row[name] for name in ("dataset", "contender")},
                "name": row["label"],
                **{name: row[name] for name in ("n", "seeds")},
                "class": label,
                "class name": material.spell_class(row["dataset"], label),
                "accuracy %": 100 * row["value"],
                "accuracy %, ci95": 100 * row["ci95"],
                "taken for": "" if taken is None else material.spell_class(row["dataset"], taken),
                "taken for %": 100 * share,
                "predictions": confusion is not None,
            }
        )
    return pd.DataFrame(lines)


def _select_rows(material: Material) -> pd.DataFrame:
    """Returns the rows on single classes; raises NoDataError if there are none, or only one class was tested."""
    rows = material.rows
    of_classes = [name for name in rows["condition"].cat.categories if name.startswith(CLASS)]
    chosen = (rows["measure"] == ACCURACY) & (rows["metric"] == ACCURACY) & rows["condition"].isin(of_classes)
    if len(of_classes) < 2 or not chosen.any():
        raise NoDataError("the accuracy of each class")
    return material.select_rows(chosen)


def find_confusion(material: Material, contender: str) -> NDArray[np.float64] | None:
    """Returns the share of each class's images that are taken for each class, the mean over seeds.

    Returns:
        ``[classes, classes]``: true, predicted; rows without test images are NaN. None if predictions of a seed are not on
        record, or if images have several labels.
    """
    cells = material.cells.loc[material.cells["contender"] == contender, "cell"]
    kept = [material.kept(ACCURACY, str(cell)) for cell in cells]
    pairs = [(arrays["label"], arrays["prediction"]) for arrays in kept if {"label", "prediction"} <= arrays.keys()]
    if len(pairs) < len(kept) or not pairs or any(labels.ndim != 1 for labels, _ in pairs):
        return None
    count = 1 + max(int(values.max()) for pair in pairs for values in pair)
    matrices = [
        np.bincount(count * labels + taken, minlength=count**2).reshape(count, count) for labels, taken in pairs
    ]
    with np.errstate(invalid="ignore"):  # a class without test images
        shares: NDArray[np.float64] = np.mean(
            [matrix / matrix.sum(axis=1, keepdims=True) for matrix in matrices], axis=0
        )
    return shares


def _find_taken(confusion: NDArray[np.float64], label: int) -> tuple[int | None, float]:
    """Returns the other class that most images of a class are taken for, and their share."""
    others = confusion[label].copy()
    others[label] = 0
    taken = int(np.nan_to_num(others).argmax())
    return (taken, float(others[taken])) if others[taken] > 0 else (None, float("nan"))


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns one row of strings a contender: its hardest and easiest class, and the pairs that it confuses most."""
    lines = []
    for _, rows in table.groupby(["dataset", "contender"], sort=False):
        ranked = rows.sort_values("accuracy %", kind="stable").to_dict("records")
        lines.append({"hardest class": _spell_accuracy(ranked[0]), "easiest class": _spell_accuracy(ranked[-1])})
        lines[-1]["most confused"] = _spell_pairs(rows)
    firsts = table.drop_duplicates(["dataset", "contender"]).reset_index(drop=True)
    names = {**name_column(firsts), "n": spell_seed_counts(firsts["n"], firsts["seeds"])}
    return pd.concat([pd.DataFrame(names), pd.DataFrame(lines)], axis="columns")


def _spell_accuracy(row: dict[Any, Any]) -> str:
    return f"{row['class name']}: {format_interval(row['accuracy %'], row['accuracy %, ci95'], 1, PERCENT)} {PERCENT}"


def _spell_pairs(rows: pd.DataFrame) -> str:
    """Returns ``9 as 4 (3.1 %), 7 as 2 (2.0 %)``: the classes of which most images are taken for one other class."""
    if not rows["predictions"].all():
        return UNKNOWN
    pairs = rows[rows["taken for"] != ""].nlargest(MOST_PAIRS, "taken for %", keep="first")
    texts = [
        f"{row['class name']} as {row['taken for']} ({row['taken for %']:.1f} {PERCENT})"
        for row in pairs.to_dict("records")
    ]
    return "; ".join(texts) or "none"


@in_style()
def draw_classes(material: Material) -> Picture:
    """Draws the accuracy of each contender on each class, a panel a data set."""
    rows = _keep_few_classes(_select_rows(material))
    chosen = choose_contenders(material, rows, FEW_CLASSES)
    table = chosen.table.assign(label_of=chosen.table["condition"].str.removeprefix(CLASS).astype(int))
    datasets = list(table["dataset"].unique())
    most = table.groupby("dataset")["contender"].nunique().max()
    widest = max(map(text_width, chosen.summary["label"])) / 72
    width = COLUMN if widest + 0.22 * table["label_of"].nunique() < COLUMN - 0.2 else PAGE
    figure, grid = make_panels(len(datasets), 1, 0.5 + 0.17 * most, width)
    labels = chosen.summary.set_index("contender")["label"]
    for axes, dataset in zip(grid[:, 0], datasets, strict=True):
        of_dataset = table[table["dataset"] == dataset]
        means = of_dataset.pivot(index="contender", columns="label_of", values="value").sort_index(axis="columns")
        names = [name for name in labels.index if name in means.index]
        draw_heat(axes, 100 * means.loc[names].rename(index=labels))
        _name_classes(axes, material, dataset, means.columns)
        axes.set(title=dataset if len(datasets) > 1 else "", xlabel="class")
    spread = describe_spread(chosen.table, "Numbers", "for intervals see classes.csv")
    caption = f"Share (%) of the test images of each class that are classified correctly. {spread}"
    return finish_picture(figure, "Accuracy of each class", caption + chosen.left_out)


def _keep_few_classes(rows: pd.DataFrame) -> pd.DataFrame:
    counts = rows.groupby("dataset")["condition"].transform("nunique")
    return rows[counts <= MOST_CLASSES]


@in_style()
def draw_confusions(material: Material) -> Picture:
    """Draws which class is taken for which, a matrix for each of the most accurate contenders."""
    rows = _keep_few_classes(_select_rows(material))
    if rows.empty:
        raise NoDataError(FEW_CLASSES)
    summary, left_out = choose_most_accurate(material.summary, set(rows["contender"]), MOST_MATRICES)
    found = {name: find_confusion(material, str(name)) for name in summary["contender"]}
    known = {name: 100 * confusion for name, confusion in found.items() if confusion is not None}
    if not known:
        raise NoDataError("predictions", "are not on record")
    figure, panels = wrap_panels(len(known), 3, 2.5, PAGE)
    several = summary["dataset"].nunique() > 1
    wrong = {name: np.where(np.eye(len(shares), dtype=bool), np.nan, shares) for name, shares in known.items()}
    most = max([1.0, *(float(np.nanmax(shares)) for shares in wrong.values())])
    described = summary.set_index("contender")
    for axes, (name, shares) in zip(panels, wrong.items(), strict=True):
        dataset, count = str(described.loc[name, "dataset"]), len(shares)
        errors = pd.DataFrame(np.where(shares >= 0.5, shares, np.nan))
        draw_heat(axes, errors, most, absent="", size=SMALL - 1 if count <= MOST_WRITTEN else 0)
        for place, share in enumerate(np.diag(known[name])) if count <= MOST_WRITTEN else ():
            words = "" if np.isnan(share) else f"{share:.0f}"
            axes.text(place + 0.5, place + 0.5, words, ha="center", va="center", fontsize=SMALL - 1, color=INK)
        _name_classes(axes, material, dataset, range(count), range(count))
        label = str(described.loc[name, "label"])
        title = "\n".join(wrap(f"{dataset}: {label}" if several else label, LONGEST_LINE))
        axes.set(title=title, xlabel="predicted", ylabel="true class", aspect="equal")
    caption = (
        "Share (%) of the test images of the class of the line that are taken for the class of the column. Colours are errors, "
        f"up to {most:.0f} %; errors below 0.5 % are left blank. On the diagonal, without a colour: correct predictions. "
        f"{describe_spread(summary[summary['contender'].isin(known)], 'Numbers', 'the table has the largest errors')}"
    )
    lacking = [str(described.loc[name, "label"]) for name in found if name not in known]
    caption += f" No predictions are on record of {', '.join(lacking)}." if lacking else ""
    return finish_picture(figure, "Confusion matrices", caption + left_out)


def _name_classes(axes: Axes, material: Material, dataset: str, across: Any, down: Any = ()) -> None:
    """Writes the names of classes at the ticks, cut where they are long, and upright where they are many."""
    for axis, labels in ((axes.xaxis, list(across)), (axes.yaxis, list(down))):
        if labels:
            names = [_cut_name(material.spell_class(dataset, int(label))) for label in labels]
            axis.set_ticks([place + 0.5 for place in range(len(labels))], names)
    if any(len(name.get_text()) > 3 for name in axes.get_xticklabels()):
        for name in axes.get_xticklabels():
            name.set(rotation=35, ha="right", rotation_mode="anchor")


def _cut_name(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"


SECTION = Section(
    name=CLASSES,
    title="Classes and confusions",
    caption=(
        "Accuracy on the test images of one class, the mean over n seeds ± half-width of the 95 % t-interval. Most confused: "
        "the classes of which most images are taken for one other class, with the share of their images: "
        "`9 as 4 (3.0 %)` says that 3.0 % of the images of class 9 are taken for class 4.",
        About(UNKNOWN, "Not on record: of an earlier capsbench, or of a record without its folder `kept`."),
    ),
    table=build_table,
    readable=format_table,
    pictures={CLASSES: draw_classes, CONFUSIONS: draw_confusions},
)
