"""Shows cells in MLflow."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

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

CELL_TAG, FAILURE_TAG = "capsbench.cell", "capsbench.failure"
MOST_PARAMETERS, MOST_NUMBERS, LONGEST_PARAMETER, LONGEST_TAG = 100, 1000, 6000, 8000
"""MLflow's limits of one call, and of the letters of a value."""

STATUSES = {Status.FINISHED: "FINISHED", Status.FAILED: "FAILED", Status.INTERRUPTED: "KILLED"}

DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
"""Settings that the user has not chosen. The run waits for MLflow, which would try for minutes to reach a server that is gone."""


class MLflowTracker(Tracker):
    """MLflow: a run for each cell in the experiment capsbench; in a database beside the records, or at $MLFLOW_TRACKING_URI."""

    package = "mlflow"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or self._make_database()
        self.client = MlflowClient(self.uri)
        self.experiment = self._find_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "capsbench"))

    def describe(self) -> str:
        return f"to watch: `mlflow ui --backend-store-uri {self.uri}`" if self.uri.startswith("sqlite:") else ""

    def start_run(self, cell: Cell, title: str) -> TrackedRun:
        from mlflow.entities import Param

        run = self.client.create_run(self.experiment, tags={CELL_TAG: cell.id}, run_name=title)
        pairs = list_parameters(cell).items()
        parameters = [Param(_to_key(name), str(value)[:LONGEST_PARAMETER]) for name, value in pairs]
        for start in range(0, len(parameters), MOST_PARAMETERS):
            self.client.log_batch(run.info.run_id, params=parameters[start : start + MOST_PARAMETERS])
        return _MLflowRun(self.client, run.info.run_id)

    def reopen_run(self, cell: Cell) -> TrackedRun | None:
        condition, latest_first = f"tags.`{CELL_TAG}` = '{cell.id}'", ["attributes.start_time DESC"]
        for run in self.client.search_runs([self.experiment], condition, max_results=1, order_by=latest_first):
            self.client.update_run(run.info.run_id, status="RUNNING")
            return _MLflowRun(self.client, run.info.run_id)
        return None

    def _find_experiment(self, name: str) -> str:
        """Returns the identity of an experiment, and makes it if there is none."""
        from mlflow.exceptions import MlflowException

        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            with suppress(MlflowException):  # another run may make it at the same moment
                self.client.create_experiment(name)
            experiment = self.client.get_experiment_by_name(name)
        return str(experiment.experiment_id)

    def _make_database(self) -> str:
        make_folder(self.folder)
        return f"sqlite:///{self.folder / 'mlflow.db'}"


class _MLflowRun(TrackedRun):
    def __init__(self, client: Any, run_id: str) -> None:
        self.client, self.run_id = client, run_id

    def log_epoch(self, entry: Mapping[str, float]) -> None:
        self._log_metrics(select_curves(entry), int(entry["epoch"]))

    def log_numbers(self, rows: Sequence[Row]) -> None:
        self._log_metrics({name_number(row): row.value for row in rows}, 0)

    def end(self, status: Status, reason: str) -> None:
        if reason:
            self.client.set_tag(self.run_id, FAILURE_TAG, reason[:LONGEST_TAG])
        self.client.set_terminated(self.run_id, STATUSES[status])

    def _log_metrics(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(_to_key(name), value, now, step) for name, value in values.items()]
        for start in range(0, len(metrics), MOST_NUMBERS):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + MOST_NUMBERS])


def _to_key(name: str) -> str:
    """Returns a name without the characters that MLflow refuses, such as the comma of a condition."""
    return re.sub(r"[^\w/.\- :]", "", name)
