"""`capsbench measure`: parses, calls, prints; decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from capsbench.cli.options import CodeOption, DataOption, JsonOption, OutOption
from capsbench.cli.outcome import print_outcome
from capsbench.planning.count import MOST_WORKERS


def measure(
    measure: Annotated[str, typer.Option(metavar="A,B,...", help="Measures to take, or all.")],
    out: OutOption = Path("results"),
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=A,B", help="Only networks for which this holds, NAME=A,B or NAME!=A,B; repeatable."),
    ] = None,
    data_dir: DataOption = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_WORKERS, help="Networks measured at a time; by default as many as fill the cores."
        ),
    ] = None,
    allow_code: CodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take measures of networks on record, without training. Measures on record are not taken again.

    capsbench measure --measure affine,adversarial:full

    capsbench measure --out results/mine --where routing=em --measure all
    """
    from capsbench import api

    outcome = api.measure(
        out, measure=measure, where=where or (), data_dir=data_dir, workers=workers, allow_code=allow_code
    )
    print_outcome(outcome, out, as_json)
