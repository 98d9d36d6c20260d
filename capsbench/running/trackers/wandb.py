"""Shows cells in W&B (Weights & Biases)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from capsbench.records.cell import Cell
from capsbench.records.disk import make_folder
from capsbench.records.record import Row
from capsbench.running.trackers.base import (
    Status,
    TrackedRun,
    Tracker,
    list_parameters,
    name_number,
    select_curves,
)

EXIT_CODES = {Status.FINISHED: 0, Status.FAILED: 1, Status.INTERRUPTED: 255}
"""W&B tells by it how a run ended; 255 is its own code for Ctrl-C."""


class WandbTracker(Tracker):
    """W&B: a run for each cell in the project capsbench; in files beside the records, unless WANDB_MODE=online sends them."""

    package = "wandb"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.mode = os.environ.get("WANDB_MODE", "offline")
        if self.mode == "online":
            import wandb

            wandb.login()  # asks now for what it would otherwise ask for in the middle of the run

    def describe(self) -> str:
        return (
            f"to send to W&B after the run: `wandb sync {self.folder}/offline-run-*`" if self.mode == "offline" else ""
        )

    def start_run(self, cell: Cell, title: str) -> TrackedRun:
        group = title.rpartition(", seed ")[0] or title
        run = self._init_run(
            f"{cell.id}-{uuid4().hex[:8]}", name=title, group=group[:128], config=list_parameters(cell)
        )
        run.define_metric("*", step_metric="epoch")
        return _WandbRun(run)

    def reopen_run(self, cell: Cell) -> TrackedRun | None:
        folders = sorted(self.folder.glob(f"*run-*-{cell.id}-*"), key=lambda folder: folder.name.partition("run-")[2])
        if not folders:
            return None
        return _WandbRun(self._init_run(cell.id + folders[-1].name.rpartition(cell.id)[2]))

    def _init_run(self, run_id: str, **facts: Any) -> Any:
        import wandb

        make_folder(self.folder)
        # Of the machine it measures nothing, since that would disturb the measure `speed`.
        settings = wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True)
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "capsbench"),
            id=run_id,
            dir=self.folder.parent,  # W&B writes into a folder wandb of it, which is that of this tracker
            mode=self.mode,
            resume="allow",
            reinit="create_new",
            settings=settings,
            **facts,
        )


class _WandbRun(TrackedRun):
    def __init__(self, run: Any) -> None:
        self.run = run

    def log_epoch(self, entry: Mapping[str, float]) -> None:
        self.run.log({"epoch": entry["epoch"], **select_curves(entry)})

    def log_numbers(self, rows: Sequence[Row]) -> None:
        self.run.summary.update({name_number(row): row.value for row in rows})

    def end(self, status: Status, reason: str) -> None:
        if reason:
            self.run.summary["failure"] = reason
        self.run.finish(exit_code=EXIT_CODES[status])
