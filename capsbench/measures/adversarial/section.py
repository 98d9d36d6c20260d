"""The section on adversarial robustness: the worst case, each reading of the output, and failed sanity checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from capsbench.attacks.effort import ATTACKED
from capsbench.attacks.threats import OWN_LOSS, Threat, bounds_of
from capsbench.measures.adversarial.spec import ADVERSARIAL
from capsbench.measures.soundness import find_failed_checks, mark_unsound
from capsbench.presenting.caption import AboutColumn
from capsbench.presenting.columns import HALF, one_row_each, select_number
from capsbench.presenting.figures.classes import label_classes
from capsbench.presenting.figures.curves import draw_curves
from capsbench.presenting.figures.figure import (
    Picture,
    describe_spread,
    finish_picture,
    make_panels,
    text_width,
    wrap_panels,
)
from capsbench.presenting.figures.heat import draw_heat
from capsbench.presenting.figures.mosaic import draw_mosaic, make_mosaic
from capsbench.presenting.figures.style import COLUMN, MISLED, PAGE, PALE, SMALL, in_style
from capsbench.presenting.format import PERCENT, format_interval, name_column, spell_seed_counts
from capsbench.presenting.images import ImagesTaken
from capsbench.presenting.marks import UNSOUND
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section
from capsbench.presenting.shortlist import choose_contenders, choose_most_accurate

READINGS = ("scores", "share", "logit", "scaled")
LOSSES = ("cross-entropy", "dlr", "margin")
SCORES = {"lengths": "scores", "logits": "scores"}
"""The readings that are the scores themselves, of capsules and of a CNN; with the cross-entropy, the literature's attack."""

SHORT = {"cross-entropy": "CE", "dlr": "DLR"}
"""Names of losses above narrow columns."""

MOST_SHOWN = 6
"""The most contenders in the picture of images, which has a line for each."""


def build_table(material: Material) -> pd.DataFrame:
    means = material.average_seeds(material.of_measure(ADVERSARIAL))
    linf, l2 = (
        means["dataset"].map({name: bounds_of(name, threat).headline for name in means["dataset"].unique()})
        for threat in (Threat.LINF, Threat.L2)
    )

    def choose_accuracy(condition: str, level: Any) -> pd.DataFrame:
        return select_number(means, "robust accuracy", condition, level)

    usual = [choose_accuracy(f"{Threat.LINF}, pgd, {reading}, cross-entropy", linf) for reading in SCORES]
    table = one_row_each(
        means,
        {
            "clean %": choose_accuracy(f"{Threat.LINF}, worst case", 0.0),
            "usual PGD %": pd.concat(usual),
            "worst case L∞ %": choose_accuracy(f"{Threat.LINF}, worst case", linf),
            "black box %": choose_accuracy("black box, square", linf),
            "worst case L2 %": choose_accuracy(f"{Threat.L2}, worst case", l2),
        },
    )
    for heading, threat in (("epsilon L∞", Threat.LINF), ("epsilon L2", Threat.L2)):
        table[heading] = [bounds_of(name, threat).headline for name in table["dataset"]]
    norms = means[(means["metric"] == "perturbation norm") & means["condition"].str.match(r"L2, cw, .*, mean")]
    table["CW norm (L2)"] = table["contender"].map(norms.groupby("contender")["value"].min())
    failed = find_failed_checks(material)
    table["failed checks"] = ["; ".join(failed.get(str(name), [])) for name in table["contender"]]
    own = _find_own_attacks(means)
    if own:
        table["own attacks"] = ["; ".join(own.get(str(name), [])) for name in table["contender"]]
    return table


def _find_own_attacks(means: pd.DataFrame) -> dict[str, list[str]]:
    """Returns contender -> the names of a user's own attacks in its worst case, sorted."""
    rows = means[means["condition"].str.endswith(f", {OWN_LOSS}")]
    names: dict[str, set[str]] = {}
    for contender, condition in zip(rows["contender"], rows["condition"], strict=True):
        names.setdefault(str(contender), set()).add(str(condition).split(", ")[1])
    return {contender: sorted(attacks) for contender, attacks in names.items()}


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    mark = table["failed checks"].map(lambda failed: f" {UNSOUND.sign}" if failed else "")
    strings: dict[str, Any] = {**name_column(table), "n": spell_seed_counts(table["n"], table["seeds"])}
    for heading in [name for name in map(str, table) if name.endswith("%")]:
        numbers = zip(table[heading], table[heading + HALF], mark, strict=True)
        strings[heading] = [
            format_interval(value, half, 1, PERCENT) + (sign if pd.notna(value) else "")
            for value, half, sign in numbers
        ]
    strings["epsilon"] = [f"{a:.3g} / {b:.3g}" for a, b in zip(table["epsilon L∞"], table["epsilon L2"], strict=True)]
    if table["CW norm (L2)"].notna().any():
        strings["CW norm (L2)"] = [format_interval(value, float("nan"), 2) for value in table["CW norm (L2)"]]
    for heading in ("failed checks", "own attacks"):
        if heading in table:
            strings[heading] = table[heading].where(table[heading] != "", "none")
    return pd.DataFrame(strings)


@in_style()
def draw_robust_accuracy(material: Material) -> Picture:
    """Draws the worst-case accuracy against epsilon, a panel a threat."""
    material = mark_unsound(material)
    rows = material.of_measure(ADVERSARIAL)
    conditions = {f"{Threat.LINF}, worst case": "L∞ epsilon", f"{Threat.L2}, worst case": "L2 epsilon"}
    chosen_rows = choose_contenders(material, rows[rows["condition"].isin(list(conditions))], "the worst case")
    datasets = list(chosen_rows.table["dataset"].unique())
    cells = [(dataset, *condition) for dataset in datasets for condition in conditions.items()]
    figure, grid = wrap_panels(len(cells), 4, 1.75, PAGE if len(datasets) > 1 else COLUMN, sharey=True)
    for axes, (dataset, condition, label) in zip(grid, cells, strict=True):
        rows_of_panel = chosen_rows.rows[
            (chosen_rows.rows["dataset"] == dataset) & (chosen_rows.rows["condition"] == condition)
        ]
        draw_curves(axes, rows_of_panel, chosen_rows.summary)
        axes.set(xlabel=label, ylim=(0, 102), title=dataset if len(datasets) > 1 else "")
    for axes in grid[::4]:
        axes.set_ylabel("accuracy, worst case (%)")
    caption = (
        "Accuracy under the worst of all attacks on each image, against how far an image may be changed. It is an upper bound "
        f"of the robust accuracy. {describe_spread(chosen_rows.table, 'Lines', 'bands: 95 % t-intervals')}"
    )
    return finish_picture(figure, "Robust accuracy", caption + chosen_rows.left_out, chosen_rows.summary["label"])


@in_style()
def draw_readings(material: Material) -> Picture:
    """Draws the robust accuracy under PGD at the headline epsilon, for each reading of the output and each loss."""
    material = mark_unsound(material)
    rows = material.of_measure(ADVERSARIAL)
    level = rows["dataset"].map({name: bounds_of(name, Threat.LINF).headline for name in rows["dataset"].unique()})
    rows_at_level = rows[(rows["metric"] == "robust accuracy") & ((rows["level"] - level).abs() < 1e-6)]
    chosen_rows = choose_contenders(material, rows_at_level, "robust accuracy by reading")
    table = chosen_rows.table
    for reading, name in SCORES.items():
        table["condition"] = table["condition"].str.replace(f"pgd, {reading},", f"pgd, {name},", regex=False)
    heads = {f"{Threat.LINF}, pgd, {reading}, {loss}": (reading, loss) for reading in READINGS for loss in LOSSES}
    heads[f"{Threat.LINF}, worst case"] = ("", "worst\ncase")
    grid = table.pivot_table(index="contender", columns="condition", values="value", sort=False)
    columns = [name for name in heads if name in grid]
    if not columns:
        raise NoDataError("robust accuracy by reading")
    order = [name for name in chosen_rows.summary["contender"] if name in grid.index]
    figure, ((axes,),) = make_panels(1, 1, 0.4 + 0.17 * len(order), PAGE)
    lines = _name_contenders(chosen_rows.summary, order)
    losses = [SHORT.get(heads[name][1], heads[name][1]) for name in columns]
    draw_heat(axes, 100 * grid.loc[order, columns].set_axis(lines).set_axis(losses, axis="columns"))
    axes.xaxis.tick_top()
    for reading in READINGS:
        places = [place for place, name in enumerate(columns) if heads[name][0] == reading]
        if places:
            middle = (sum(places) / len(places) + 0.5, 1)
            over = dict(xycoords=axes.get_xaxis_transform(), xytext=(0, 11), textcoords="offset points")
            axes.annotate(reading, middle, ha="center", va="bottom", **over)
    caption = (
        "Accuracy (%) at the headline epsilon in L∞ under PGD, by the reading of the output (scores: lengths of capsules, logits "
        "of a CNN) and by the loss (CE: cross-entropy, DLR: difference of logits ratio). The lowest number of a network "
        "is its upper bound; the worst case is over all attacks, for each image. "
        f"{describe_spread(table, 'Numbers', 'for intervals see the table')}"
    )
    title = "PGD through each reading of the output, under each loss"
    return finish_picture(figure, title, caption + chosen_rows.left_out)


def _name_contenders(summary: pd.DataFrame, order: list[str]) -> list[str]:
    """Returns the names of contenders, with the data set if there are several."""
    rows = summary.set_index("contender").loc[order]
    several = rows["dataset"].nunique() > 1
    return [
        f"{dataset}: {label}" if several else label
        for dataset, label in zip(rows["dataset"], rows["label"], strict=True)
    ]


@in_style()
def draw_examples(material: Material) -> Picture:
    """Draws some clean and adversarial images, each with the prediction of the network."""
    material = mark_unsound(material)
    rows = material.of_measure(ADVERSARIAL)
    dataset = str(rows["dataset"].iloc[0])
    cells = rows[rows["dataset"] == dataset].drop_duplicates("contender").set_index("contender")["cell"]
    summary, left_out = choose_most_accurate(
        material.summary[material.summary["dataset"] == dataset], set(cells.index), MOST_SHOWN
    )
    tensors_of = {
        name: material.kept(ADVERSARIAL, str(cells[name])) for name in summary["contender"] if name in cells.index
    }
    pictured = {name: tensors for name, tensors in tensors_of.items() if "pictured" in tensors}
    if not pictured:
        raise NoDataError("adversarial images", "were not kept")
    first = next(iter(pictured.values()))
    truth = first["label"][first["pictured"]]
    threats = {Threat.LINF: "L∞", Threat.L2: "L2"}
    lines = [np.concatenate([first["clean images"]] * len(threats))]
    lines += [np.concatenate([tensors[f"images.{threat}"] for threat in threats]) for tensors in pictured.values()]
    taken = [np.concatenate([truth] * len(threats))]
    taken += [np.concatenate([tensors[f"predictions.{threat}"] for threat in threats]) for tensors in pictured.values()]
    labels = ["as they are", *_name_contenders(summary, list(pictured))]
    headings = [f"{name}, epsilon {bounds_of(dataset, threat).headline:.3g}" for threat, name in threats.items()]
    figure, ((axes,),) = make_panels(1, 1, 1.0, PAGE)
    room = PAGE - max(text_width(label) for label in labels) / 72 - 0.15
    words = label_classes(material.class_names.get(dataset, ()), 72 * room / (len(taken[0]) + 2) - 2)
    part = _draw_images(axes, np.stack(lines), np.stack(taken), truth, labels, headings, words.words)
    figure.set_figheight(0.05 + room * part)
    caption = (
        f"Adversarial images of {dataset} at the headline epsilon of each norm, for one seed. Above each image is the predicted "
        f"class, in bold if it is wrong.{words.note}"
    )
    return finish_picture(figure, "Adversarial images", caption + left_out)


def _draw_images(
    axes: Axes,
    pictures: NDArray[Any],
    taken: NDArray[Any],
    truth: NDArray[Any],
    labels: list[str],
    headings: list[str],
    names: Sequence[str],
) -> float:
    """Draws images ``[lines, N, C, H, W]``: a line a network, a block a heading. Returns the height relative to the width.

    Args:
        names: the text of each class; of others it is the number.
    """
    count = len(truth)
    gaps = [0.0 if place == 0 else 0.5 if place % count == 0 else 0.06 for place in range(pictures.shape[1])]
    placed = make_mosaic((255 * pictures).round().clip(0, 255).astype(np.uint8), gaps, below=0.45)
    unit = placed.width
    above = 1.05 * unit
    draw_mosaic(axes, placed, above)
    words: dict[str, Any] = dict(ha="center", va="bottom", fontsize=SMALL)
    for line, top in enumerate(placed.top):
        axes.text(-0.2 * unit, top + placed.height / 2, labels[line], ha="right", va="center", fontsize=SMALL)
        for place, left in enumerate(placed.left):
            right = int(taken[line, place]) == int(truth[place % count])
            says: dict[str, Any] = dict(color=PALE) if right else dict(color=MISLED, fontweight="bold")
            label = int(taken[line, place])
            text = names[label] if label < len(names) else str(label)
            axes.text(left + unit / 2, top - 0.02 * unit, text, **words, **says)
    for block, heading in enumerate(headings):
        middle = (placed.left[block * count] + placed.left[(block + 1) * count - 1] + unit) / 2
        axes.text(middle, -0.5 * unit, heading, ha="center", va="bottom")
    height, width = placed.pixels.shape[:2]
    return float((height - 0.45 * unit + above) / width)


SECTION = Section(
    explains={
        "worst case of attacks, L∞": (
            "Worst case of attacks: the share of the images that no attack turns into an error, if pixels may change by epsilon. "
            "It is over all attacks and over all readings, which are the outputs that an attack follows, such as lengths of "
            "capsules or logits."
        )
    },
    name=ADVERSARIAL,
    title="Adversarial robustness",
    caption=(
        "Accuracy on the attacked images. Worst case: over all attacks, readings of the output and losses, for each image; cite "
        "this number, an upper bound. Usual PGD: on the scores of the network with the cross-entropy, which overrates "
        "networks that hide their gradients.",
        AboutColumn(
            "CW norm",
            "CW norm: the mean distance of the nearest adversarial images, through the reading with the smallest distance.",
        ),
        AboutColumn(
            "own attacks",
            "Own attacks count in the worst case, too: compare worst cases only of contenders with the same ones.",
        ),
    ),
    images=ImagesTaken(ATTACKED, "attacked"),
    table=build_table,
    readable=format_table,
    pictures={
        "adversarial-curves": draw_robust_accuracy,
        "adversarial-readings": draw_readings,
        "adversarial-images": draw_examples,
    },
)
