"""The section on adversarial robustness: the worst case, what each reading of the output makes of it, and which checks failed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from capsbench.attacks.plan import EFFORTS, tolerance
from capsbench.attacks.threats import Threat, bounds_of
from capsbench.reporting.curves import draw_curves
from capsbench.reporting.robustness import heat
from capsbench.reporting.section import Material, NoDataError, Section
from capsbench.reporting.style import STYLE, caption_of, finish
from capsbench.reporting.text import names, with_interval

MARK = "\N{DAGGER}"
"""Stands beside every number of a contender of which a sanity check failed."""

READINGS = ("scores", "share", "logit", "scaled")
LOSSES = ("cross-entropy", "dlr", "margin")
SCORES = {"lengths": "scores", "logits": "scores"}
"""The readings that take what a network gives as it is, of capsules and of a CNN; under cross-entropy the literature's attack."""

MISLED = "#b2182b"
MOST_SHOWN = 6
"""Contenders in the picture of images, which has a line for each."""


def failed_checks(material: Material) -> dict[str, list[str]]:
    """Contender -> the sanity checks that failed for any of its seeds, that by the other networks of the run among them."""
    rows = material.rows
    if rows.empty:
        return {}
    failed = rows[(rows["measure"] == "adversarial") & (rows["metric"] == "sanity check") & (rows["value"] == 0)]
    images = {setting: EFFORTS[setting].images for setting in EFFORTS}
    attacked = rows["measures"].map(lambda specs: images["full" if "adversarial:full" in specs else "light"])
    beyond = rows[(rows["metric"] == "beyond white box") & (rows["value"] > attacked.map(tolerance))]
    failed = pd.concat([failed, beyond.assign(condition="transfer no stronger")])
    return {str(name): sorted(own["condition"].unique()) for name, own in failed.groupby("contender")}


def marked(material: Material) -> Material:
    """The material with `MARK` behind the name of each contender of which a check failed."""
    failed = failed_checks(material)
    summary = material.summary.copy()
    summary["label"] += summary["contender"].map(lambda name: f" {MARK}" if name in failed else "")
    return Material(summary, material.curves, material.rows, material.kept)


def _table(material: Material) -> pd.DataFrame:
    means = material.averaged(material.of_measure("adversarial"))
    table = means[["contender", "dataset", "label", "n"]].drop_duplicates("contender").set_index("contender")

    def add(heading: str, condition: pd.Series) -> None:
        chosen = means[(means["metric"] == "robust accuracy") & condition].set_index("contender")
        chosen = chosen[~chosen.index.duplicated()]
        table[heading], table[f"{heading}, ci95"] = 100 * chosen["value"], 100 * chosen["ci95"]

    epsilon = {
        threat: means["dataset"].map(lambda name, threat=threat: bounds_of(name, threat).headline)
        for threat in (Threat.LINF, Threat.L2)
    }
    at = {threat: (means["level"] - level).abs() < 1e-6 for threat, level in epsilon.items()}
    usual = means["condition"].isin([f"{Threat.LINF}, pgd, {reading}, cross-entropy" for reading in SCORES])
    add("clean %", (means["condition"] == f"{Threat.LINF}, worst case") & (means["level"] == 0))
    add("usual PGD %", usual & at[Threat.LINF])
    add("worst case L∞ %", (means["condition"] == f"{Threat.LINF}, worst case") & at[Threat.LINF])
    add("black box %", (means["condition"] == "black box, square") & at[Threat.LINF])
    add("worst case L2 %", (means["condition"] == f"{Threat.L2}, worst case") & at[Threat.L2])
    for heading, threat in (("epsilon L∞", Threat.LINF), ("epsilon L2", Threat.L2)):
        table[heading] = [bounds_of(name, threat).headline for name in table["dataset"]]
    norms = means[(means["metric"] == "perturbation norm") & means["condition"].str.match(r"L2, cw, .*, mean")]
    table["CW norm (L2)"] = norms.groupby("contender")["value"].min()
    failed = failed_checks(material)
    table["failed checks"] = ["; ".join(failed.get(str(name), [])) for name in table.index]
    return table.reset_index(drop=True).rename(columns={"label": "name"})


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    mark = table["failed checks"].map(lambda failed: f" {MARK}" if failed else "")
    shown: dict[str, Any] = {**names(table), "n": table["n"].map(str)}
    for heading in [name for name in map(str, table) if name.endswith("%")]:
        numbers = zip(table[heading], table[f"{heading}, ci95"], mark, strict=True)
        shown[heading] = [
            with_interval(value, half, 1) + (sign if pd.notna(value) else "") for value, half, sign in numbers
        ]
    shown["epsilon"] = [f"{a:.3g} / {b:.3g}" for a, b in zip(table["epsilon L∞"], table["epsilon L2"], strict=True)]
    if table["CW norm (L2)"].notna().any():
        shown["CW norm (L2)"] = [with_interval(value, float("nan"), 2) for value in table["CW norm (L2)"]]
    shown["failed checks"] = table["failed checks"].where(table["failed checks"] != "", "none")
    return pd.DataFrame(shown)


@mpl.rc_context(STYLE)
def curves(material: Material) -> Figure:
    """Accuracy in the worst case against epsilon, a panel a threat."""
    material = marked(material)
    rows = material.of_measure("adversarial")
    conditions = {f"{Threat.LINF}, worst case": "L∞ epsilon", f"{Threat.L2}, worst case": "L2 epsilon"}
    table = material.averaged(rows[rows["condition"].isin(list(conditions))])
    if table.empty:
        raise NoDataError("no worst case was measured")
    datasets = list(table["dataset"].unique())
    figure = Figure(figsize=(8.6, 0.9 + 3.4 * len(datasets)), layout="constrained")
    panels = figure.subplots(len(datasets), len(conditions), squeeze=False, sharey=True)
    for dataset, line in zip(datasets, panels, strict=True):
        for axes, (condition, label) in zip(line, conditions.items(), strict=True):
            draw_curves(axes, table[(table["dataset"] == dataset) & (table["condition"] == condition)])
            axes.set(xlabel=label, ylim=(0, 102))
        line[0].set_ylabel("accuracy in the worst case (%)" if len(datasets) == 1 else f"{dataset}: worst case (%)")
    caption = caption_of(material.summary, "lines", "bands: 95 % t-interval") + _explained(material)
    finish(figure, "Robust accuracy", caption, material.summary["label"])
    return figure


@mpl.rc_context(STYLE)
def readings(material: Material) -> Figure:
    """Robust accuracy at the headline epsilon under PGD through each reading of the output and each loss."""
    material = marked(material)
    rows = material.of_measure("adversarial")
    table = material.averaged(rows[rows["metric"] == "robust accuracy"])
    level = table["dataset"].map(lambda name: bounds_of(name, Threat.LINF).headline)
    table = table[(table["level"] - level).abs() < 1e-6]
    for reading, name in SCORES.items():
        table["condition"] = table["condition"].str.replace(f"pgd, {reading},", f"pgd, {name},", regex=False)
    columns = [(reading, loss) for reading in READINGS for loss in LOSSES]
    conditions = [
        *(f"{Threat.LINF}, pgd, {reading}, {loss}" for reading, loss in columns),
        f"{Threat.LINF}, worst case",
    ]
    grid = table.pivot_table(index="contender", columns="condition", values="value", sort=False)
    shown = [name for name in conditions if name in grid]
    if not shown:
        raise NoDataError("no readings were attacked")
    order = [name for name in material.summary["contender"] if name in grid.index]
    values = 100 * grid.loc[order, shown].to_numpy(dtype=float)
    figure = Figure(figsize=(2.6 + 0.72 * len(shown), 1.9 + 0.42 * len(order)), layout="constrained")
    axes = figure.subplots()
    heat(axes, values)
    heads = [
        name.removeprefix(f"{Threat.LINF}, pgd, ").removeprefix(f"{Threat.LINF}, ").replace(", ", "\n")
        for name in shown
    ]
    axes.set_xticks(range(len(shown)), heads, rotation=35, ha="right", rotation_mode="anchor")
    labels = material.summary.set_index("contender")
    several = labels.loc[order, "dataset"].nunique() > 1
    axes.set_yticks(
        range(len(order)),
        [(f"{labels.loc[name, 'dataset']}: " if several else "") + str(labels.loc[name, "label"]) for name in order],
    )
    caption = (
        "accuracy (%) at the headline epsilon in L∞; scores: lengths of capsules, logits of a CNN; worst case: of all attacks, "
        "image by image"
    )
    finish(figure, "PGD through each reading of the output, under each loss", caption + _explained(material))
    return figure


@mpl.rc_context(STYLE)
def images(material: Material) -> Figure:
    """Some images as they are and as attacks made them, with what each network takes them for."""
    material = marked(material)
    rows = material.of_measure("adversarial")
    dataset = str(rows["dataset"].iloc[0])
    own = rows[rows["dataset"] == dataset]
    shown: list[tuple[str, dict[str, Tensor]]] = []
    for contender in [name for name in material.summary["contender"] if name in set(own["contender"])][:MOST_SHOWN]:
        kept = material.kept("adversarial", str(own.loc[own["contender"] == contender, "cell"].iloc[0]))
        if "pictured" in kept:
            shown.append((contender, kept))
    if not shown:
        raise NoDataError("no adversarial images were kept")
    labels = material.summary.set_index("contender")["label"]
    first = shown[0][1]
    truth = first["label"][first["pictured"].long()]
    figure = Figure(figsize=(2.2 + 1.1 * len(truth), 1.3 + 0.72 * (1 + len(shown))), layout="constrained")
    blocks = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.25, 1))[0]
    for block, threat, title in zip(blocks, (Threat.LINF, Threat.L2), ("L∞", "L2"), strict=True):
        block.suptitle(
            f"{title}, epsilon {bounds_of(dataset, threat).headline:.3g}", fontsize="medium", fontweight="normal"
        )
        panels = block.subplots(1 + len(shown), len(truth), squeeze=False)
        _draw_images(panels[0], first["clean images"], truth, truth)
        for (contender, kept), line in zip(shown, panels[1:], strict=True):
            _draw_images(line, kept[f"images.{threat}"], kept[f"predictions.{threat}"], truth)
            if block is blocks[0]:
                line[0].set_ylabel(labels[contender], rotation=0, ha="right", va="center", fontsize="small")
        if block is blocks[0]:
            panels[0][0].set_ylabel("as they are", rotation=0, ha="right", va="center", fontsize="small")
    caption = f"{dataset}; above each image: its class, and what the network takes it for (bold: misled)"
    finish(figure, "Adversarial images", caption + _explained(material))
    return figure


def _draw_images(line: Iterable[Axes], pictures: Tensor, predictions: Tensor, truth: Tensor) -> None:
    """Images ``[N, C, H, W]``, above each the class that it is taken for."""
    for axes, picture, predicted, true in zip(line, pictures, predictions, truth, strict=True):
        shown = picture.permute(1, 2, 0) if len(picture) == 3 else picture[0]
        axes.imshow(shown.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        right = bool(predicted == true)
        axes.set_title(
            str(int(predicted)),
            fontsize="small",
            pad=2,
            color="0.35" if right else MISLED,
            fontweight="normal" if right else "bold",
        )


def _explained(material: Material) -> str:
    return f"; {MARK}: a sanity check failed" if failed_checks(material) else ""


SECTION = Section(
    name="adversarial",
    title="Adversarial robustness",
    caption=(
        "Accuracy on the images attacked. Worst case: of all attacks, readings of the output and losses, image by image; that is "
        "the number to cite, and it is an upper bound. Usual PGD: on the scores as they are, under cross-entropy, which flatters "
        "networks that hide their gradients. CW norm: the mean distance of the nearest adversarial images, through the reading "
        f"that brings them nearest. {MARK}: a sanity check failed, so that the number may be too high."
    ),
    table=_table,
    readable=_readable,
    pictures={"adversarial-curves": curves, "adversarial-readings": readings, "adversarial-images": images},
)
