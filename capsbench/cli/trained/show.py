"""`capsbench show`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from capsbench.cli.console import print_line, print_warning
from capsbench.cli.flags.complete import complete_cell
from capsbench.cli.flags.options import CodeOption, DataOption, JsonOption, MovedOption, OutOption
from capsbench.errors import Kind, UsageError

MOST_IMAGES = 10_000
"""The most test images that a picture has room for."""


def show(
    cell: Annotated[
        str | None,
        typer.Argument(
            help="Hash of a cell or its beginning, NAME=VALUE,..., or words of a title; by default the only cell with weights.",
            autocompletion=complete_cell,
        ),
    ] = None,
    out: OutOption = Path("results"),
    dataset: MovedOption = None,
    data_dir: DataOption = None,
    images: Annotated[int, typer.Option(min=1, max=MOST_IMAGES, help="Number of test images.")] = 10,
    index: Annotated[
        str | None, typer.Option(help="Numbers of test images, from 0, in place of a random draw.", metavar="I,J,...")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Output folder; by default OUT/shown/CELL.")] = None,
    allow_code: CodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw what a trained network does: reconstructions, dimensions of capsules, coupling coefficients, rotations.

    capsbench show 1f0c5d

    capsbench show routing=dynamic,iters=3,seeds=0

    capsbench show "em x3, seed 0" --index 8,247 --to pictures
    """
    from capsbench.showing import show as make_pictures

    result = make_pictures(
        cell,
        out,
        dataset=dataset or (),
        data_dir=data_dir,
        images=images,
        index=_parse_numbers(index),
        to=to,
        allow_code=allow_code,
    )
    for line in result.faults:
        print_warning(line)
    if as_json:
        print(
            json.dumps(
                {
                    "cell": result.cell.id,
                    "title": result.title,
                    "pictures": list(result.pictures),
                    "left_out": result.left_out,
                    "files": list(map(str, result.files)),
                }
            )
        )
        return
    print_line(f"{result.cell.id}, {result.title}")
    for name, picture in result.pictures.items():
        print_line(f"{name:16} {picture.title}")
    for reason in dict.fromkeys(result.left_out.values()):
        names = [name for name, why in result.left_out.items() if why == reason]
        print_line(f"left out: {', '.join(names)}: {reason}")
    print_line(f"in {result.files[0].parent}, as svg and png")


def _parse_numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(Kind.INVALID, flag="index", expected="numbers of test images I,J,...", value=text) from None
