"""`capsbench predict`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from capsbench.cli.console import print_line, print_warning
from capsbench.cli.flags.complete import complete_cell
from capsbench.cli.flags.options import CodeOption, JsonOption
from capsbench.errors import Kind, UsageError
from capsbench.presenting.terminal import make_console, to_one_line

if TYPE_CHECKING:
    from capsbench.predicting import Prediction

MOST_CLASSES = 10_000
"""The most classes that a table may list for an image."""


def predict(
    folder: Annotated[
        Path,
        typer.Argument(help="Results folder, or a folder that `capsbench export --to hub` wrote.", metavar="FOLDER"),
    ],
    images: Annotated[list[Path], typer.Argument(help="Image files.", metavar="IMAGE...")],
    cell: Annotated[
        str | None,
        typer.Option(
            help="Hash of a cell or its beginning, NAME=VALUE,..., or words of a title; by default the only cell with weights.",
            autocompletion=complete_cell,
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=MOST_CLASSES, help="Number of classes to print, best first.")] = 3,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PICTURE",
            help="PNG or SVG to write: the images as the network sees them, and reconstructions.",
        ),
    ] = None,
    allow_code: CodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a trained network classify image files; with a decoder, it can also reconstruct them.

    capsbench predict results seven.png --cell "dynamic x3, seed 0"

    capsbench predict results digits/*.png --top 1 --out reconstructions.png
    """
    form = _check_form(out)
    _refuse_replacing(images, out)
    from capsbench.predicting import open_network

    try:
        place = (folder,) if cell is None else (cell, folder)
        trained, faults = open_network(*place, allow_code=allow_code)
    except UsageError as error:
        error.flag = {"CELL": "cell", "out": "FOLDER"}.get(error.flag or "", error.flag)
        raise
    for line in faults:
        print_warning(line)
    predictions: list[Prediction] = trained.predict(images)
    if out is not None and form is not None:
        from capsbench.showing.predicted import draw_predictions, write_picture

        write_picture(draw_predictions(trained, predictions, [path.name for path in images]), out, form)
    if as_json:
        entries = [_to_entry(path, prediction, top) for path, prediction in zip(images, predictions, strict=True)]
        facts = {"cell": trained.cell.id, "title": trained.title, "scores": str(trained.kind), "images": entries}
        print(json.dumps({**facts, "picture": None if out is None else str(out)}))
        return
    print_line(f"{trained.cell.id}, {trained.title}")
    _print_table(images, predictions, top, trained.has_any_number)
    print_line(f"scores: {trained.kind.meaning}")
    if out is not None:
        print_line(f"in {out}")
    elif trained.has_decoder:
        print_line("to draw the reconstructions: --out PICTURE")


def _check_form(out: Path | None) -> str | None:
    """Returns the format of a picture by its name, ``png`` or ``svg``; raises UsageError for another."""
    if out is None:
        return None
    form = out.suffix.removeprefix(".").lower()
    if form not in ("png", "svg"):
        raise UsageError(Kind.INVALID, flag="out", expected="a file name that ends in .png or .svg", value=str(out))
    return form


def _refuse_replacing(images: list[Path], out: Path | None) -> None:
    """Refuses to draw over one of the images, as when their last one follows the flag."""
    if out is not None and out.exists() and any(image.exists() and image.samefile(out) for image in images):
        raise UsageError(Kind.CONFLICT, "it is one of the images", flag="out", file=out, expected="another name")


def _to_entry(path: Path, prediction: Prediction, top: int) -> dict[str, object]:
    ranked = zip(prediction.classes, prediction.numbers, prediction.scores, strict=True)
    classes = [{"class": name, "number": number, "score": score} for name, number, score in ranked]
    facts = {"image": str(path), "prediction": prediction.label, "predicted": list(prediction.labels)}
    return {**facts, "classes": classes[:top]}


def _print_table(images: list[Path], predictions: list[Prediction], top: int, any_number: bool) -> None:
    """Prints a line for each of the best classes of each image; of any number of classes, it says which are predicted."""
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("score", justify="right")
    if any_number:
        table.add_column("predicted")
    for path, prediction in zip(images, predictions, strict=True):
        for place, name in enumerate(prediction.classes[: max(top, prediction.count)]):
            image = to_one_line(path) if place == 0 else ""
            predicted = ["yes" if place < prediction.count else ""] if any_number else []
            table.add_row(image, to_one_line(name), f"{prediction.scores[place]:.4f}", *predicted)
    make_console().print(table)
