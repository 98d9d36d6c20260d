"""`capsbench measure`: parses, calls, prints; decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from capsbench.cli.flags.complete import complete_condition, complete_flag
from capsbench.cli.flags.options import (
    CellsPerJobOption,
    CodeOption,
    DataOption,
    DetachOption,
    ExecutorOption,
    JsonOption,
    MovedOption,
    OutOption,
    PerGpuOption,
    RayOption,
    SlurmOption,
    TimeoutOption,
    WorkersOption,
    parse_slurm,
)
from capsbench.cli.outcome import print_outcome
from capsbench.planning.request import MEASURE_FLAG


def measure(
    measure: Annotated[
        str,
        typer.Option(metavar="A,B,...", help="Measures to take, or all.", autocompletion=complete_flag(MEASURE_FLAG)),
    ],
    out: OutOption = Path("results"),
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=A,B",
            help="Only networks for which this holds, NAME=A,B or NAME!=A,B; repeatable.",
            autocompletion=complete_condition,
        ),
    ] = None,
    dataset: MovedOption = None,
    data_dir: DataOption = None,
    workers: WorkersOption = None,
    executor: ExecutorOption = "local",
    per_gpu: PerGpuOption = 1,
    cell_timeout: TimeoutOption = None,
    slurm: SlurmOption = None,
    cells_per_job: CellsPerJobOption = None,
    detach: DetachOption = False,
    ray_address: RayOption = None,
    allow_code: CodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take measures of networks on record, without training. Measures on record are not taken again.

    capsbench measure --measure affine,adversarial:full

    capsbench measure --out results/mine --where routing=em --measure all
    """
    from capsbench import api

    outcome = api.measure(
        out,
        measure=measure,
        where=where or (),
        dataset=dataset or (),
        data_dir=data_dir,
        workers=workers,
        executor=executor,
        per_gpu=per_gpu,
        cell_timeout=cell_timeout,
        slurm=parse_slurm(slurm),
        cells_per_job=cells_per_job,
        detach=detach,
        ray_address=ray_address,
        allow_code=allow_code,
    )
    print_outcome(outcome, out, as_json)
