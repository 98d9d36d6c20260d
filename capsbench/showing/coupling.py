"""Coupling coefficients by iteration: of single images, as means over test images, and how uniform they are."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from torch import Tensor

from capsbench.networks.layers import encode_presence
from capsbench.networks.observation import ObservedLayer, list_routings, observe_routings
from capsbench.presenting.figures.classes import ClassLabels, label_classes
from capsbench.presenting.figures.figure import Picture, finish_picture, make_panels
from capsbench.presenting.figures.style import COLUMN, PALE, PALETTE, SMALL, in_style
from capsbench.showing.scene import DoesNotApplyError, Scene
from capsbench.showing.sheet import Sheet, spread_indices, to_bytes
from capsbench.training.step import use_precision

SINGLE = 3
"""Number of images whose coefficients are drawn one by one."""

AVERAGED = 100
"""Number of images, a stratified draw, in a mean."""

AT_A_TIME = 10
"""Number of images in a batch; all votes of a layer are in memory at once."""

MOST_ITERATIONS, MOST_MEANS = 3, 5
"""The most heat maps in a row, of single images and of means. Of more iterations, some in the middle are left out."""

LABEL_WIDTH = 24
"""The widest name of a class beside a heat map, in points."""

GAP, IMAGE, BAR = 0.1, 0.62, 0.45
"""Width of the gap between heat maps, of an image and of the colour bar, in inches."""


@in_style()
def draw_coupling(scene: Scene) -> Picture:
    """Draws for single images the shares of the children among the class capsules, by iteration."""
    numbers = scene.selected[:SINGLE]
    layer = _pick_layer(_observe_layers(scene, scene.images[numbers]))
    by_type = layer.average_by_type().cpu()  # [T, B, types, J]
    iterations = spread_indices(len(layer.shares), MOST_ITERATIONS)
    classes = scene.find_winners(scene.images[numbers]) if layer.classes else None
    has_grid = layer.rows * layer.columns > 1
    by_position = layer.average_by_position(classes).cpu() if classes is not None and has_grid else None
    maps = {"shares by type of child": by_type}
    if by_position is not None:
        maps["share of the predicted class, by position"] = by_position
    scales = {heading: _choose_scale(values[iterations], layer) for heading, values in maps.items()}
    sheet = Sheet()
    count = len(iterations) * len(maps)
    wide = min(1.2, (sheet.room - IMAGE - 0.5 - BAR * len(maps) - GAP * count) / count)
    high = IMAGE + 0.25
    words = _label_columns(scene, wide)
    predictions = label_classes(scene.classes, 72 * IMAGE).words
    tiles = to_bytes(scene.images[numbers], *scene.find_tones(scene.images[numbers]))
    sheet.add_space(0.32)
    for place, number in enumerate(numbers):
        sheet.add_space(0.1 if place else 0)
        axes = sheet.add_axes(IMAGE, left=0.03 - sheet.left, width=IMAGE)
        _draw_image(axes, tiles[place])
        label = f"image {number}" + (f"\nprediction {predictions[int(classes[place])]}" if classes is not None else "")
        axes.annotate(label, (0.5, 0), (0, -2), "axes fraction", "offset points", ha="center", va="top", fontsize=SMALL)
        left = IMAGE + 0.5 - sheet.left
        for heading, values in maps.items():
            for t in iterations:
                axes = sheet.add_axes(high, left=left, width=wide, beside=True)
                heat_map = _draw_heat_map(axes, values[t, place], scales[heading])
                first, lowest = t == iterations[0], place == len(numbers) - 1
                if values is by_position:
                    axes.set(xticks=[], yticks=[])
                else:
                    _label_parents(axes, layer, lowest, words)
                    _label_child_types(axes, layer.types, first)
                if place == 0:
                    axes.set_title(f"iteration {t + 1}")
                    _write_heading(axes, heading if first else "")
                left += wide + GAP
            if lowest:
                _draw_colour_bar(sheet, heat_map, left, high)
            left += BAR
    sheet.add_space(0.3)
    caption = (
        "Shares of the children among the parents, a heat map per iteration: a row for each type of child, a column for each "
        f"{'class' if layer.classes else 'parent'}. Shares are means over the positions of the grid, weighted by the children's "
        "activations."
    )
    if by_position is not None:
        caption += " Right: the share of the predicted class by position, mean over types."
    caption += words.note if layer.classes else ""
    caption += _describe_scale(layer)
    caption += _describe_routing(scene, layer)
    return sheet.to_picture("Coupling coefficients of single images", caption)


@in_style()
def draw_coupling_means(scene: Scene) -> Picture:
    """Draws mean coupling coefficients: by class for class capsules, by type between convolutional capsules."""
    numbers = scene.sample[:AVERAGED]
    sums: dict[str, Tensor] = {}
    layers: list[ObservedLayer] = []
    for batch in _split_batches(numbers):
        layers = _observe_layers(scene, scene.images[batch])
        presence = encode_presence(scene.labels[batch], _count_classes(scene), torch.float64).cpu()
        for layer in layers:
            if layer.classes:
                shares = torch.einsum("bk,tbj->tkj", presence, layer.average_by_parent().double().cpu())
            else:
                shares = layer.average_by_type().double().sum(dim=1).cpu()
            sums[layer.name] = sums.get(layer.name, torch.zeros_like(shares)) + shares
    class_counts = encode_presence(scene.labels[numbers], _count_classes(scene), torch.float64).sum(dim=0).cpu()
    sheet = Sheet(names=["child type 00"])
    note = ""
    for layer in layers:
        total = class_counts[:, None] if layer.classes else len(numbers)
        means = sums[layer.name] / total
        iterations = spread_indices(len(means), MOST_MEANS)
        wide = min(1.6, (sheet.room - BAR - GAP * len(iterations)) / len(iterations))
        high = min(1.3, max(0.5, 0.12 * means.shape[1]))
        words = _label_columns(scene, wide)
        note = words.note if layer.classes else note
        sheet.add_space(0.3)
        left = 0.0
        scale = _choose_scale(means[iterations], layer)
        for place, t in enumerate(iterations):
            axes = sheet.add_axes(high, left=left, width=wide, beside=place > 0)
            heat_map = _draw_heat_map(axes, means[t], scale)
            _label_parents(axes, layer, True, words)
            if layer.classes:
                _label_image_classes(axes, words, place == 0)
            else:
                _label_child_types(axes, means.shape[1], place == 0)
            axes.set_title(f"iteration {t + 1}")
            _write_heading(axes, layer.name if place == 0 else "")
            left += wide + GAP
        _draw_colour_bar(sheet, heat_map, left, high)
        sheet.add_space(0.3)
    caption = (
        f"Means over {len(numbers)} test images and over all children, weighted by their activations; a heat map per iteration. "
        "Class capsules: a row for each class of image, a column for each class capsule. If routing finds the class, the "
        "diagonal brightens. Other layers: a row for each type of child, a column for each type of parent. Each layer has its "
        f"own scale.{note}{_describe_scale(layers[-1])}{_describe_routing(scene, layers[-1])}"
    )
    return sheet.to_picture("Coupling coefficients, means over test images", caption)


@in_style()
def draw_agreement(scene: Scene) -> Picture:
    """Draws the entropy of the coupling coefficients and the agreement of the votes by iteration, a line per layer."""
    numbers = scene.sample[:AVERAGED]
    entropy: dict[str, list[Tensor]] = {}
    agreement: dict[str, list[Tensor]] = {}
    for batch in _split_batches(numbers):
        for layer in _observe_layers(scene, scene.images[batch]):
            entropy.setdefault(layer.name, []).append(layer.compute_entropy().cpu())
            if layer.agreement:
                agreement.setdefault(layer.name, []).append(layer.compute_mean_agreement().cpu())
    figure, ((left, right),) = make_panels(1, 2, 1.6, COLUMN)
    _draw_lines(left, entropy, "entropy (1: uniform)")
    _draw_lines(right, agreement, "agreement of votes")
    low = min(float(torch.cat(parts, dim=1).min()) for parts in entropy.values())
    left.set_ylim(min(0.9, low - 0.03), 1 + 0.1 * (1 - min(0.9, low)))
    right.set_ylim(0, 1.03)
    caption = (
        "By routing iteration. Left: how evenly a child is shared among its parents (the entropy of its coupling coefficients; "
        "1 if all are equal). Right: the agreement of the votes that a parent sums (the length of their sum divided by the sum "
        f"of their lengths). Lines with markers are means over {len(numbers)} test images; thin lines are single images. "
        f"Children are weighted by their activations.{_describe_routing(scene)}"
    )
    return finish_picture(figure, "Entropy of coupling coefficients, and agreement of votes", caption)


def _draw_lines(axes: Axes, values_of: dict[str, list[Tensor]], label: str) -> None:
    """Draws the values of each layer by iteration: a thick line for their mean, thin ones for some images.

    Args:
        values_of: name of a layer -> values of each batch, ``[T, B]``.
    """
    longest = 1
    for number, (name, parts) in enumerate(values_of.items()):
        values = torch.cat(parts, dim=1).double()
        times = list(range(1, len(values) + 1))
        longest = max(longest, len(values))
        color = PALETTE[number % len(PALETTE)]
        for image in range(0, values.shape[1], max(1, values.shape[1] // 20)):
            axes.plot(times, values[:, image], color=color, linewidth=0.3, alpha=0.35)
        axes.plot(times, values.mean(dim=1), color=color, marker="osD^v"[number % 5], label=name)
    axes.set(xlabel="iteration", ylabel=label, xticks=range(1, longest + 1), xlim=(0.7, longest + 0.3))


def _observe_layers(scene: Scene, images: Tensor) -> list[ObservedLayer]:
    """Returns the layers, observed on images; raises DoesNotApplyError if there is nothing to observe."""
    if not scene.cell.has_routing:
        raise DoesNotApplyError("the network routes nothing, so it has no coupling coefficients")
    with use_precision(scene.cell):
        layers = observe_routings(scene.network, images)
    if not layers:
        raise DoesNotApplyError(
            f"the routing {scene.cell.routing} makes no vote passes, so its coefficients cannot be observed"
        )
    return layers


def _pick_layer(layers: list[ObservedLayer]) -> ObservedLayer:
    """Returns the layer of class capsules, or else the last one."""
    return next((layer for layer in layers if layer.classes), layers[-1])


def _split_batches(numbers: list[int]) -> list[list[int]]:
    return [numbers[start : start + AT_A_TIME] for start in range(0, len(numbers), AT_A_TIME)]


def _count_classes(scene: Scene) -> int:
    return int(scene.score_images(scene.images[:1]).shape[1])


def _describe_routing(scene: Scene, layer: ObservedLayer | None = None) -> str:
    """Returns sentences of a caption, each after a space, on the particularities of a routing's coefficients."""
    sentences = ""
    routings = list_routings(scene.network)
    if layer is not None and layer.has_none:
        sentences += " The last column (\N{EN DASH}) is the share that goes to no class."
    if any(routing.across_windows for routing in routings):
        sentences += " A child of convolutional capsules is shared among the parents of all windows that contain it."
    if scene.cell.routing == "self-attention":
        sentences += " The coefficients do not include the learnt prior that the routing adds."
    if scene.cell.has_routing and not routings[-1].iterative:
        sentences += " This routing has no iterations."
    return sentences


def _choose_scale(shares: Tensor, layer: ObservedLayer) -> tuple[float, float]:
    """Returns the smallest and the largest share, at least a fifth of an equal share apart."""
    values = shares.double().flatten()
    values = values[values.isfinite()]
    low, high = float(values.min()), float(values.max())
    least = 0.2 / layer.shares[0].shape[-1]  # a narrower scale makes noise look like structure
    missing = max(0.0, least - (high - low)) / 2
    return max(0.0, low - missing), high + missing


def _describe_scale(layer: ObservedLayer) -> str:
    equal = 1 / layer.shares[0].shape[-1]
    return (
        f" Equal shares ({layer.name}) are {equal:.3g}. The colour scale runs from the smallest to the largest share."
    )


def _draw_heat_map(axes: Axes, values: Tensor, scale: tuple[float, float]) -> AxesImage:
    low, high = scale
    heat_map = axes.imshow(
        values.double().numpy(), cmap="viridis", vmin=low, vmax=high, interpolation="none", aspect="auto"
    )
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return heat_map


def _label_columns(scene: Scene, width: float) -> ClassLabels:
    """Returns the labels of the classes below a heat map of so many inches; names also have to fit left of it."""
    return label_classes(scene.classes, min(LABEL_WIDTH, 72 * width / len(scene.classes) - 2))


def _label_parents(axes: Axes, layer: ObservedLayer, visible: bool, words: ClassLabels) -> None:
    """Labels the columns of a heat map with classes, or with types of parents."""
    count = layer.shares[0].shape[-1]
    places = spread_indices(count, 12)
    of_parents = words.words if layer.classes else [str(place + 1) for place in range(layer.parents)]
    names = ["\N{EN DASH}" if place == layer.parents else of_parents[place] for place in places]
    axes.set_xticks(places, names if visible else [""] * len(places))
    if visible:
        axes.set_xlabel("class capsule" if layer.classes else "parent type")


def _label_child_types(axes: Axes, count: int, visible: bool) -> None:
    places = spread_indices(count, 8)
    _label_rows(axes, places, [str(place + 1) for place in places], "child type", visible)


def _label_image_classes(axes: Axes, words: ClassLabels, visible: bool) -> None:
    places = spread_indices(len(words.words), 10)
    _label_rows(axes, places, [words.words[place] for place in places], "class of the image", visible)


def _label_rows(axes: Axes, places: list[int], names: list[str], label: str, visible: bool) -> None:
    axes.set_yticks(places, names if visible else [""] * len(places))
    if visible:
        axes.set_ylabel(label)


def _write_heading(axes: Axes, text: str) -> None:
    """Writes a heading above the title of the first of several heat maps."""
    axes.annotate(text, (0, 1), (0, 13), "axes fraction", "offset points", ha="left", va="bottom")


def _draw_image(axes: Axes, tile: Tensor) -> None:
    pixels: Any = (tile if len(tile) == 3 else tile[:1].expand(3, -1, -1)).permute(1, 2, 0).numpy()
    axes.imshow(pixels, interpolation="none")
    axes.axis("off")


def _draw_colour_bar(sheet: Sheet, heat_map: AxesImage, left: float, height: float) -> None:
    """Draws the colour scale beside the last heat map."""
    axes = sheet.add_axes(height, left=left, width=0.08, beside=True)
    sheet.figure.colorbar(heat_map, cax=axes)
    axes.grid(visible=False)
    axes.tick_params(colors=PALE)
    axes.spines[:].set_visible(False)
