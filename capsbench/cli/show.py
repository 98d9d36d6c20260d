"""`capsbench show`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from capsbench.cli.console import say, warn
from capsbench.cli.options import CodeOption, JsonOption, OutOption
from capsbench.errors import Kind, UsageError

MOST_IMAGES = 10_000
"""The most test images that a picture has room for."""


def show(
    cell: Annotated[
        str | None,
        typer.Argument(
            help="Its hash or the beginning, NAME=VALUE,..., or words of its title; the only one with weights if none."
        ),
    ] = None,
    out: OutOption = Path("results"),
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", help="Where data sets lie or are downloaded to; else $CAPSBENCH_DATA, else the user's cache."
        ),
    ] = None,
    images: Annotated[int, typer.Option(min=1, max=MOST_IMAGES, help="How many test images.")] = 10,
    index: Annotated[
        str | None, typer.Option(help="These test images rather than a draw, from 0.", metavar="I,J,...")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Where to write; OUT/shown/CELL by default.")] = None,
    allow_code: CodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """What a trained network sees, as pictures: reconstructions, capsules' dimensions, coupling coefficients, rotation.

    capsbench show 1f0c5d

    capsbench show routing=dynamic,iters=3,seeds=0

    capsbench show "em x3, seed 0" --index 8,247 --to pictures
    """
    from capsbench.showing import show as make_pictures

    made = make_pictures(
        cell, out, data_dir=data_dir, images=images, index=_numbers(index), to=to, allow_code=allow_code
    )
    for line in made.faults:
        warn(line)
    if as_json:
        print(
            json.dumps(
                {
                    "cell": made.cell.id,
                    "title": made.title,
                    "pictures": list(made.pictures),
                    "left_out": made.left_out,
                    "files": list(map(str, made.files)),
                }
            )
        )
        return
    say(f"{made.cell.id}, {made.title}")
    for name, picture in made.pictures.items():
        say(f"{name:16} {picture.title}")
    for reason in dict.fromkeys(made.left_out.values()):
        names = [name for name, why in made.left_out.items() if why == reason]
        say(f"left out: {', '.join(names)}: {reason}")
    say(f"in {made.files[0].parent}, as svg and png")


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(Kind.INVALID, flag="index", expected="numbers of test images I,J,...", value=text) from None
