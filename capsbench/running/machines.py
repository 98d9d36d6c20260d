"""The machines that a user asks for, checked, and the runs on them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from capsbench.data.base import data_folder
from capsbench.errors import Kind, UsageError
from capsbench.planning.count import MOST_WORKERS
from capsbench.planning.defaults import SECONDS_BETWEEN_CHECKPOINTS
from capsbench.planning.duration import parse_duration
from capsbench.planning.matrix import PlannedCell
from capsbench.presenting.terminal import make_console
from capsbench.records.store import Store
from capsbench.running.events import Listener, Remarked
from capsbench.running.executors.base import Place, Settings
from capsbench.running.executors.build import check_executor, make_executor
from capsbench.running.executors.local import LocalExecutor, default_workers
from capsbench.running.outcome import Outcome
from capsbench.running.progress import make_progress
from capsbench.running.runner import Runner
from capsbench.running.schedule import Schedule, plan_budget
from capsbench.running.shares import choose_runner


class Machines:
    """The machines that a run asks for; the arguments are those of `run`. Raises UsageError before anything is planned."""

    def __init__(
        self,
        executor: str = "local",
        workers: int | None = None,
        per_gpu: int = 1,
        cell_timeout: str | float | None = None,
        slurm: Mapping[str, str] | None = None,
        cells_per_job: int | None = None,
        detach: bool = False,
        ray_address: str | None = None,
        checkpoint_seconds: float = SECONDS_BETWEEN_CHECKPOINTS,
        budget: str | float | None = None,
    ) -> None:
        began = time.monotonic()
        counts = {"workers": workers, "per_gpu": per_gpu, "cells_per_job": cells_per_job}
        for flag, count in counts.items():
            if count is not None and not 1 <= count <= MOST_WORKERS:
                raise UsageError(Kind.INVALID, flag=flag, expected=f"1 to {MOST_WORKERS:,}", value=count)
        if not checkpoint_seconds >= 0:  # also true of nan
            raise UsageError(Kind.INVALID, flag="checkpoint_seconds", expected="0 or more", value=checkpoint_seconds)
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
        if budget is not None and executor != "local":
            problem = "is for {flag:executor} local, whose cells can be stopped in time"
            raise UsageError(Kind.CONFLICT, problem, flag="budget", value=budget)
        self.ends = None if budget is None else began + parse_duration("budget", budget)
        """The end of the budget, by `time.monotonic`; None without one."""
        self.executor, self.workers = executor, workers
        self.settings = Settings(1, per_gpu, slurm or {}, cells_per_job or 1, detach, ray_address)
        self.cell_timeout = None if cell_timeout is None else parse_duration("cell_timeout", cell_timeout)
        self.checkpoint_seconds = checkpoint_seconds

    def make_schedule(
        self, planned: Sequence[PlannedCell], store: Store, data: Path, progress: Listener, **how: Any
    ) -> Schedule:
        """Returns the schedule of some cells; with a budget their networks are timed. ``how`` is as in `plan_budget`."""
        if self.ends is None:
            return Schedule()
        store.check_writable()  # before minutes are spent
        progress.notify(Remarked("timing each network for the budget, which takes some seconds to minutes"))
        return plan_budget(self.ends, planned, store, data, **how)

    def count_workers(self, planned: Sequence[PlannedCell]) -> int:
        """Returns the number of cells that run at a time on a machine."""
        return self.workers or default_workers(planned, self.settings.per_gpu)

    def make_runner(
        self, planned: Sequence[PlannedCell], store: Store, data: Path, progress: Listener, **how: Any
    ) -> Runner:
        """Returns the run of some cells on these machines."""
        settings = replace(self.settings, workers=self.count_workers(planned))
        if (self.executor, settings.ray_address) == ("ray", "auto"):  # takes a minute if a cluster was here and is gone
            remark = "looking for the Ray cluster that this machine is a node of, for a minute at most"
            progress.notify(Remarked(remark))
        executor = make_executor(self.executor, Place(store, data), settings)
        if isinstance(executor, LocalExecutor) and "schedule" in how:
            executor.seconds_left = how["schedule"].seconds_left
        run = choose_runner(executor)
        how |= {"cell_timeout": self.cell_timeout, "checkpoint_seconds": self.checkpoint_seconds}
        return run(planned, store, data, progress, executor=executor, **how)

    def run_cells(
        self,
        planned: Sequence[PlannedCell],
        store: Store,
        remarks: Sequence[str] = (),
        *,
        data_dir: str | Path | None = None,
        console: Console | None = None,
        suite: str | Path | None = None,
        **how: Any,
    ) -> Outcome:
        """Runs some cells on these machines and shows the progress.

        Args:
            data_dir, console, suite: as in `capsbench.run`.
            remarks, how: arguments of `Runner`.
        """
        named = None if suite is None else str(suite)
        with make_progress(console or make_console(stderr=True)) as progress:
            return self.make_runner(
                planned, store, data_folder(data_dir), progress, remarks=remarks, suite=named, **how
            ).run()
