"""Coupling coefficients by iteration: of single images, as means over test images, and how uniform they are."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from torch import Tensor

from capsbench.networks.layers import encode_presence
from capsbench.presenting.figures.figure import Picture, finish_picture, make_panels
from capsbench.presenting.figures.style import COLUMN, PALE, PALETTE, SMALL, STYLE
from capsbench.showing.observe import Observed, observed, routings_of
from capsbench.showing.scene import DoesNotApplyError, Scene
from capsbench.showing.sheet import Sheet, as_bytes, some
from capsbench.training.step import use_precision

SINGLE = 3
"""Images of which the coefficients are shown one by one."""

AVERAGED = 100
"""Images, a stratified draw, that means are over."""

AT_A_TIME = 10
"""Images that a network is observed with at a time: all votes of a layer are then in memory."""

MOST_ITERATIONS, MOST_MEANS = 3, 5
"""Heat maps beside one another, of single images and of means: of more iterations, the first, the last and some between."""

GAP, IMAGE, BAR = 0.1, 0.62, 0.45
"""Room between heat maps, for an image and for the scale of colours, in inches."""


@mpl.rc_context(STYLE)
def draw_coupling(scene: Scene) -> Picture:
    """Of some images how the children are shared among the class capsules, iteration by iteration."""
    numbers = scene.shown[:SINGLE]
    layer = _last(_observed(scene, scene.images[numbers]))
    by_type = layer.by_type().cpu()  # [T, B, types, J]
    iterations = some(len(layer.shares), MOST_ITERATIONS)
    classes = scene.predicted(scene.images[numbers])[:, 0] if layer.classes else None
    places = layer.by_place(classes).cpu() if classes is not None and layer.rows * layer.columns > 1 else None
    maps = {"shares by type of child": by_type}
    if places is not None:
        maps["share of the class that is seen, by place"] = places
    scales = {heading: _scale([values[iterations]], layer) for heading, values in maps.items()}
    sheet = Sheet()
    count = len(iterations) * len(maps)
    wide = min(1.2, (sheet.room - IMAGE - 0.5 - BAR * len(maps) - GAP * count) / count)
    high = IMAGE + 0.25
    tiles = as_bytes(scene.images[numbers], *scene.tones(scene.images[numbers]))
    sheet.skip(0.32)
    for place, number in enumerate(numbers):
        sheet.skip(0.1 if place else 0)
        axes = sheet.axes(IMAGE, left=0.03 - sheet.left, width=IMAGE)
        _tile(axes, tiles[place])
        told = f"image {number}" + (f"\nseen as {int(classes[place])}" if classes is not None else "")
        axes.annotate(told, (0.5, 0), (0, -2), "axes fraction", "offset points", ha="center", va="top", fontsize=SMALL)
        left = IMAGE + 0.5 - sheet.left
        for heading, values in maps.items():
            for t in iterations:
                axes = sheet.axes(high, left=left, width=wide, beside=True)
                drawn = _map(axes, values[t, place], scales[heading])
                first, lowest = t == iterations[0], place == len(numbers) - 1
                if values is places:
                    axes.set(xticks=[], yticks=[])
                else:
                    parents_axis(axes, layer, lowest)
                    _types_axis(axes, layer.types, first)
                if place == 0:
                    axes.set_title(f"iteration {t + 1}")
                    _heading(axes, heading if first else "")
                left += wide + GAP
            if lowest:
                _bar(sheet, drawn, left, high)
            left += BAR
    sheet.skip(0.3)
    caption = (
        "How children are shared among the parents, a heat map an iteration: a line for each type of child, a column for each "
        f"{'class' if layer.classes else 'parent'}; the mean over the places of the grid, weighted by the children's activations."
    )
    if places is not None:
        caption += " On the right, by place and as the mean over types, the share of the class that the network sees."
    caption += _about_scale(layer)
    caption += _about(scene, layer)
    return sheet.picture("Coupling coefficients of single images", caption)


@mpl.rc_context(STYLE)
def coupling_means(scene: Scene) -> Picture:
    """Coupling coefficients as means over test images: class by class, and type by type between convolutional capsules."""
    numbers = scene.drawn[:AVERAGED]
    rows: dict[str, Tensor] = {}
    layers: list[Observed] = []
    for part in _parts(numbers):
        layers = _observed(scene, scene.images[part])
        shown = encode_presence(scene.labels[part], _classes(scene), torch.float64).cpu()
        for layer in layers:
            if layer.classes:
                own = torch.einsum("bk,tbj->tkj", shown, layer.by_parent().double().cpu())
            else:
                own = layer.by_type().double().sum(dim=1).cpu()
            rows[layer.name] = rows.get(layer.name, torch.zeros_like(own)) + own
    of_class = encode_presence(scene.labels[numbers], _classes(scene), torch.float64).sum(dim=0).cpu()
    sheet = Sheet(names=["child type 00"])
    for layer in layers:
        total = of_class[:, None] if layer.classes else len(numbers)
        means = rows[layer.name] / total
        iterations = some(len(means), MOST_MEANS)
        wide = min(1.6, (sheet.room - BAR - GAP * len(iterations)) / len(iterations))
        high = min(1.3, max(0.5, 0.12 * means.shape[1]))
        sheet.skip(0.3)
        left = 0.0
        scale = _scale([means[iterations]], layer)
        for place, t in enumerate(iterations):
            axes = sheet.axes(high, left=left, width=wide, beside=place > 0)
            drawn = _map(axes, means[t], scale)
            parents_axis(axes, layer, True)
            if layer.classes:
                _ticks(axes, means.shape[1], place == 0, "class of the image")
            else:
                _types_axis(axes, means.shape[1], place == 0)
            axes.set_title(f"iteration {t + 1}")
            _heading(axes, layer.name if place == 0 else "")
            left += wide + GAP
        _bar(sheet, drawn, left, high)
        sheet.skip(0.3)
    caption = (
        f"Means over {len(numbers)} test images and over all children, weighted by their activations; a heat map an iteration. "
        "Of the class capsules a line for each class of the image, a column for each class capsule: where routing finds the "
        "class, the diagonal gets brighter. Of other layers a line for each type of child, a column for each type of parent. "
        f"Each layer has its own scale.{_about_scale(layers[-1])}{_about(scene, layers[-1])}"
    )
    return sheet.picture("Coupling coefficients, means over test images", caption)


@mpl.rc_context(STYLE)
def agreement(scene: Scene) -> Picture:
    """Entropy of the coupling coefficients and agreement of the votes by iteration, a line a layer."""
    numbers = scene.drawn[:AVERAGED]
    entropy: dict[str, list[Tensor]] = {}
    agreed: dict[str, list[Tensor]] = {}
    for part in _parts(numbers):
        for layer in _observed(scene, scene.images[part]):
            entropy.setdefault(layer.name, []).append(layer.entropy().cpu())
            if layer.agreement:
                agreed.setdefault(layer.name, []).append(layer.mean_agreement().cpu())
    figure, ((left, right),) = make_panels(1, 2, 1.6, COLUMN)
    for axes, found, label in ((left, entropy, "entropy (1: uniform)"), (right, agreed, "agreement of votes")):
        longest = 1
        for number, (name, parts) in enumerate(found.items()):
            values = torch.cat(parts, dim=1).double()
            times = list(range(1, len(values) + 1))
            longest = max(longest, len(values))
            color = PALETTE[number % len(PALETTE)]
            for image in range(0, values.shape[1], max(1, values.shape[1] // 20)):
                axes.plot(times, values[:, image], color=color, linewidth=0.3, alpha=0.35)
            axes.plot(times, values.mean(dim=1), color=color, marker="osD^v"[number % 5], label=name)
        axes.set(xlabel="iteration", ylabel=label, xticks=range(1, longest + 1), xlim=(0.7, longest + 0.3))
    low = min(float(torch.cat(parts, dim=1).min()) for parts in entropy.values())
    left.set_ylim(min(0.9, low - 0.03), 1 + 0.1 * (1 - min(0.9, low)))
    right.set_ylim(0, 1.03)
    caption = (
        "By routing iteration: how evenly a child is shared among its parents (entropy of its coupling coefficients, 1 if all "
        "are equal), and how far the votes that a parent sums point in one direction (length of their sum divided by the sum of "
        f"their lengths). Lines with markers: means over {len(numbers)} test images; thin lines: single images. Children count "
        f"by their activations.{_about(scene)}"
    )
    return finish_picture(figure, "How sharply children are routed, and how far they agree", caption)


def _observed(scene: Scene, images: Tensor) -> list[Observed]:
    """What the routings do with images; raises DoesNotApplyError where there are none."""
    if not scene.cell.has_routing:
        raise DoesNotApplyError("the network routes nothing, so it has no coupling coefficients")
    with use_precision(scene.cell):
        layers = observed(scene.network, images)
    if not layers:
        raise DoesNotApplyError(
            f"the routing {scene.cell.routing} makes no vote passes, by which coefficients are known"
        )
    return layers


def _last(layers: list[Observed]) -> Observed:
    """The class capsules' layer, else the last one."""
    return next((layer for layer in layers if layer.classes), layers[-1])


def _parts(numbers: list[int]) -> list[list[int]]:
    return [numbers[start : start + AT_A_TIME] for start in range(0, len(numbers), AT_A_TIME)]


def _classes(scene: Scene) -> int:
    return int(scene.scores(scene.images[:1]).shape[1])


def _about(scene: Scene, layer: Observed | None = None) -> str:
    """What is to be known of a routing's coefficients, with a space before it."""
    said = ""
    if layer is not None and layer.has_none:
        said += " The last column (\N{EN DASH}) is what goes to none of the classes."
    if any(routing.across_windows for routing in routings_of(scene.network)):
        said += " A child of convolutional capsules is shared among the parents of all windows that it is in."
    if scene.cell.routing == "self-attention":
        said += " The learnt prior that the routing adds to the coefficients is left out."
    if scene.cell.has_routing and not routings_of(scene.network)[-1].iterative:
        said += " This routing has no iterations."
    return said


def _scale(maps: list[Tensor], layer: Observed) -> tuple[float, float]:
    """From the least to the greatest share; never narrower than a fifth of an equal one, so that noise does not look large."""
    values = torch.cat([each.double().flatten() for each in maps])
    values = values[values.isfinite()]
    low, high = float(values.min()), float(values.max())
    least = 0.2 / layer.shares[0].shape[-1]
    missing = max(0.0, least - (high - low)) / 2
    return max(0.0, low - missing), high + missing


def _about_scale(layer: Observed) -> str:
    return (
        f" Equal shares are {1 / layer.shares[0].shape[-1]:.3g}; the scale goes from the least to the greatest share."
    )


def _map(axes: Axes, values: Tensor, scale: tuple[float, float]) -> AxesImage:
    low, high = scale
    drawn = axes.imshow(
        values.double().numpy(), cmap="viridis", vmin=low, vmax=high, interpolation="none", aspect="auto"
    )
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return drawn


def parents_axis(axes: Axes, layer: Observed, shown: bool) -> None:
    """Names the columns of a heat map: the classes, or types of parents."""
    count = layer.shares[0].shape[-1]
    places = some(count, 12)
    names = [
        "\N{EN DASH}" if place == layer.parents else str(place if layer.classes else place + 1) for place in places
    ]
    axes.set_xticks(places, names if shown else [""] * len(places))
    if shown:
        axes.set_xlabel("class capsule" if layer.classes else "parent type")


def _types_axis(axes: Axes, types: int, shown: bool) -> None:
    places = some(types, 8)
    axes.set_yticks(places, [str(place + 1) for place in places] if shown else [""] * len(places))
    if shown:
        axes.set_ylabel("child type")


def _ticks(axes: Axes, count: int, shown: bool, label: str) -> None:
    places = some(count, 10)
    axes.set_yticks(places, list(map(str, places)) if shown else [""] * len(places))
    if shown:
        axes.set_ylabel(label)


def _heading(axes: Axes, text: str) -> None:
    """Words above the title of the first of several heat maps."""
    axes.annotate(text, (0, 1), (0, 13), "axes fraction", "offset points", ha="left", va="bottom")


def _tile(axes: Axes, tile: Tensor) -> None:
    pixels: Any = (tile if len(tile) == 3 else tile[:1].expand(3, -1, -1)).permute(1, 2, 0).numpy()
    axes.imshow(pixels, interpolation="none")
    axes.axis("off")


def _bar(sheet: Sheet, drawn: AxesImage, left: float, height: float) -> None:
    """The scale of colours, beside the last heat map."""
    axes = sheet.axes(height, left=left, width=0.08, beside=True)
    sheet.figure.colorbar(drawn, cax=axes)
    axes.grid(visible=False)
    axes.tick_params(colors=PALE)
    axes.spines[:].set_visible(False)
