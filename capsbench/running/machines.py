"""The machines that a user asks for, checked, and the runs on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from capsbench.errors import Kind, UsageError
from capsbench.planning.count import MOST_WORKERS
from capsbench.planning.duration import parse_duration
from capsbench.planning.matrix import PlannedCell
from capsbench.records.store import Store
from capsbench.running.events import Listener
from capsbench.running.executors.base import Place, Settings
from capsbench.running.executors.build import check_executor, make_executor
from capsbench.running.executors.local import default_workers
from capsbench.running.runner import Runner
from capsbench.running.shares import choose_runner


class Machines:
    """The machines that a run asks for; the arguments are those of `run`. Raises UsageError before anything is planned."""

    def __init__(
        self,
        executor: str,
        workers: int | None,
        per_gpu: int,
        cell_timeout: str | float | None,
        slurm: Mapping[str, str] | None,
        cells_per_job: int | None,
        detach: bool,
        ray_address: str | None,
    ) -> None:
        counts = {"workers": workers, "per_gpu": per_gpu, "cells_per_job": cells_per_job}
        for flag, count in counts.items():
            if count is not None and not 1 <= count <= MOST_WORKERS:
                raise UsageError(Kind.INVALID, flag=flag, expected=f"1 to {MOST_WORKERS:,}", value=count)
        check_executor(executor)
        given = {"slurm": slurm, "cells_per_job": cells_per_job, "detach": detach, "ray_address": ray_address}
        for flag, value in given.items():
            meant = "ray" if flag == "ray_address" else "slurm"
            if value and executor != meant:
                raise UsageError(Kind.CONFLICT, f"is for {{flag:executor}} {meant}", flag=flag)
        if executor == "ray" and workers is not None:
            problem = "Ray runs as many cells at a time as its nodes have cores for"
            raise UsageError(Kind.CONFLICT, problem, flag="workers", value=workers)
        if executor == "slurm" and (workers is not None or per_gpu != 1):
            flag = "per_gpu" if workers is None else "workers"
            problem = "Slurm decides how many cells run at a time; {flag:slurm} array_parallelism=N limits their number"
            raise UsageError(Kind.CONFLICT, problem, flag=flag)
        self.executor, self.workers = executor, workers
        self.settings = Settings(1, per_gpu, slurm or {}, cells_per_job or 1, detach, ray_address)
        self.cell_timeout = None if cell_timeout is None else parse_duration("cell_timeout", cell_timeout)

    def make_runner(
        self, planned: Sequence[PlannedCell], store: Store, data: Path, progress: Listener, **how: Any
    ) -> Runner:
        """Returns the run of some cells on these machines."""
        workers = self.workers or default_workers(planned, self.settings.per_gpu)
        executor = make_executor(self.executor, Place(store, data), replace(self.settings, workers=workers))
        run = choose_runner(executor)
        return run(planned, store, data, progress, executor=executor, cell_timeout=self.cell_timeout, **how)
