"""`capsbench merge`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from capsbench.cli.console import print_line, print_warning
from capsbench.cli.flags.options import JsonOption
from capsbench.errors import EXIT_FAILED


def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Results folders.")],
    out: Annotated[Path, typer.Option("--out", help="Merged folder; it may exist, and be one of the folders.")],
    prefer: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder whose results count where two folders contradict each other; repeatable, most preferred first.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Join results folders that were made apart. No folder is changed, and nothing in the merged one is overwritten.

    capsbench merge results/machine-a results/machine-b --out results/all

    capsbench merge elsewhere --out results
    """
    from capsbench.merging import ConflictError
    from capsbench.merging import merge as merge_folders
    from capsbench.reporting.unfinished import count_cells

    try:
        merged = merge_folders(folders, out, prefer=prefer or ())
    except ConflictError as error:
        for line in error.conflicts:
            print_warning(line)
        raise
    if as_json:
        print(json.dumps(asdict(merged)))
    else:
        as_before = merged.cells - len(merged.added) - len(merged.extended)
        print_line(
            f"{count_cells(merged.cells)} on record in {out}: {len(merged.added)} added, "
            f"{len(merged.extended)} with more results, {as_before} as before"
        )
        for line in merged.remarks:
            print_line(line)
        print_line(f"to see the results: capsbench report --out {shlex.quote(str(out))}")
    for line in merged.left_out:
        print_warning(f"left out: {line}")
    if merged.left_out:
        raise typer.Exit(EXIT_FAILED)
