"""`capsbench prune`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal
from rich.table import Table

from capsbench.cli.console import print_line
from capsbench.cli.flags.options import JsonOption, OutOption
from capsbench.planning.request import spell_flag
from capsbench.presenting.terminal import make_console

if TYPE_CHECKING:
    from capsbench.pruning import Pruned


def prune(
    out: OutOption = Path("results"),
    weights: Annotated[
        bool,
        typer.Option(
            "--weights",
            help="Also the weights of finished networks, which further measures and `show` need: "
            "only training again brings them back.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete the files; otherwise they are only listed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the files of a results folder that no later command needs, and delete them with --yes.

    Cells on which a command works are left alone.

    capsbench prune --out results

    capsbench prune --out results --weights --yes
    """
    from capsbench.pruning import prune as prune_folder

    pruned = prune_folder(out, weights=weights, yes=yes)
    if as_json:
        files = [str(file.path) for file in pruned.files]
        kinds = {kind: asdict(size) for kind, size in pruned.sizes.items()}
        print(json.dumps({"deleted": yes, "kinds": kinds, "files": files, "left_alone": pruned.left_alone}))
    else:
        _print_pruned(pruned, out)


def _print_pruned(pruned: Pruned, out: Path) -> None:
    from capsbench.pruning import KINDS

    if pruned.files:
        table = Table("deleted" if pruned.deleted else "may go", "files", "size", box=None, pad_edge=False)
        for kind, size in pruned.sizes.items():
            table.add_row(KINDS[kind], f"{size.files:,}", decimal(size.bytes))
        make_console().print(table)
        if not pruned.deleted:
            print_line(f"nothing was deleted; {spell_flag('yes')} deletes these files of {out}")
    else:
        print_line(f"nothing in {out} may go")
    if pruned.left_alone:
        print_line(f"left alone, since commands work on them: the files of {len(pruned.left_alone)} cells")
