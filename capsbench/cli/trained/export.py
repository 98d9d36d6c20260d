"""`capsbench export`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from capsbench.cli.console import print_line, print_warning
from capsbench.cli.flags.complete import complete_cell, complete_choice
from capsbench.cli.flags.options import CodeOption, JsonOption
from capsbench.errors import UsageError


def export(
    cell: Annotated[
        str | None,
        typer.Argument(
            help="Cell as in `capsbench show`, in results; or FOLDER or FOLDER/CELL of another results folder. By default the "
            "only cell with weights.",
            autocompletion=complete_cell,
        ),
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            help="onnx, torch-export (.pt2), safetensors, or hub (a folder with a card).",
            autocompletion=complete_choice(("onnx", "torch-export", "safetensors", "hub")),
        ),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="PATH", help="File, or folder of a hub, to write; by default FOLDER/exported/CELL."
        ),
    ] = None,
    allow_code: CodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a trained network for other programs; each file is run and compared with the network.

    To trace a network with EM or variational Bayes routing takes minutes.

    capsbench export "dynamic x3, seed 0" --out capsnet.onnx

    capsbench export results/1f0c5d --to hub --out capsnet-mnist
    """
    from capsbench.exporting import TOLERANCE
    from capsbench.exporting import export as export_network

    try:
        result = export_network(cell, to, out, allow_code=allow_code)
    except UsageError as error:
        error.flag = "CELL" if error.flag == "folder" else error.flag
        raise
    for line in result.faults:
        print_warning(line)
    if as_json:
        facts = {"cell": result.cell.id, "title": result.title, "files": list(map(str, result.files))}
        print(json.dumps({**facts, "difference": result.checked.difference, "batches": result.checked.batches}))
        return
    print_line(f"{result.cell.id}, {result.title}")
    sizes = " and ".join(map(str, result.checked.batches))
    print_line(
        f"checked on {sizes} random images: outputs differ from the network's by {result.checked.difference:.1g} "
        f"(allowed: {TOLERANCE:g})"
    )
    for path in result.files:
        print_line(path)
