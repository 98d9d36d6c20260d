"""MLflow's own client reads back what was written; its database is made once, since that takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.running.trackers.build import choose_trackers, start_trackers
from capsbench.running.trackers.mlflow import MLflowTracker
from capsbench.training.loop import EpochEnded
from tests.making import make_capsules
from tests.running.trackers.events import (
    ACCURACY,
    CELL,
    HISTORY,
    ROTATED,
    TITLE,
    end,
    fail,
    measure,
    notify_all,
    report,
    start,
    train,
)

pytest.importorskip("mlflow", reason="the extra mlflow is not installed, see docs/tracking.md")
pytest.importorskip("sqlalchemy", reason="the extra mlflow is not installed, see docs/tracking.md")
pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow's dependencies


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowTracker]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        yield MLflowTracker(tmp_path_factory.mktemp("results") / "mlflow")


def find_runs(tracker: MLflowTracker, seed: int) -> list[Any]:
    """The runs of a seed, the earliest first."""
    experiment = tracker.client.get_experiment_by_name("capsbench")
    order = ["attributes.start_time ASC"]
    return list(tracker.client.search_runs([experiment.experiment_id], f"params.seed = '{seed}'", order_by=order))


def read_curve(tracker: MLflowTracker, run: Any, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in tracker.client.get_metric_history(run.info.run_id, name)]


def test_a_cell_is_a_run_with_parameters_curves_and_numbers(tracker: MLflowTracker) -> None:
    measured = [*measure("accuracy", ACCURACY), *measure("affine", ROTATED)]
    notify_all(tracker, start(), train(), measured, end(ACCURACY, ROTATED))
    (run,) = find_runs(tracker, 0)
    assert (run.info.run_name, run.info.status) == (TITLE, "FINISHED")
    assert run.data.tags["capsbench.cell"] == CELL.id
    expected = {"routing": "em", "iterations": "3", "routing.epsilon": "0.01", "reconstruction": "False"}
    assert expected.items() <= run.data.params.items()
    assert read_curve(tracker, run, "loss") == [(1, 0.75), (2, 0.25)]
    assert read_curve(tracker, run, "validation_accuracy") == [(1, 0.5), (2, 0.875)]
    assert read_curve(tracker, run, "learning_rate") == [(1, 0.002), (2, 0.001)]
    assert run.data.metrics["training/parameters/network"] == 28_000
    assert run.data.metrics["accuracy/accuracy/test"] == 0.8125
    assert run.data.metrics["affine/R2/Linf rotation 30"] == 0.5


def test_a_failure_an_interruption_and_a_run_at_work_have_their_status(tracker: MLflowTracker) -> None:
    cells = failed, left, working = [make_capsules(seed=seed) for seed in (1, 2, 3)]
    notify_all(tracker, start(*cells), fail("the loss became nan", failed), report(EpochEnded(HISTORY[0]), cell=left))
    tracker.close()
    notify_all(tracker, report(EpochEnded(HISTORY[0]), cell=working))
    (run,) = find_runs(tracker, 1)
    assert (run.info.status, run.data.tags["capsbench.failure"]) == ("FAILED", "the loss became nan")
    assert [run.info.status for run in find_runs(tracker, 2)] == ["KILLED"]
    (run,) = find_runs(tracker, 3)
    assert (run.info.status, read_curve(tracker, run, "loss")) == ("RUNNING", [(1, 0.75)])


def test_later_measures_go_into_the_latest_run_of_the_cell(tracker: MLflowTracker) -> None:
    cell = make_capsules(seed=4)
    for _ in range(2):
        notify_all(tracker, start(cell), train(cell=cell), end(cell=cell))
    notify_all(tracker, start(cell), measure("affine", ROTATED, cell=cell))
    assert find_runs(tracker, 4)[-1].info.status == "RUNNING"
    notify_all(tracker, end(ROTATED, cell=cell))
    runs = find_runs(tracker, 4)
    assert ["affine/R2/Linf rotation 30" in run.data.metrics for run in runs] == [False, True]
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]


def test_more_parameters_and_numbers_than_one_call_takes(tracker: MLflowTracker) -> None:
    options = {f"network.option {number}": number for number in range(120)}
    cell = make_capsules(seed=5, options=options)
    rows = [ACCURACY._replace(condition=f"image {number}") for number in range(1200)]
    notify_all(tracker, start(cell), train(cell=cell), measure("accuracy", *rows, cell=cell), end(cell=cell))
    (run,) = find_runs(tracker, 5)
    assert run.data.params["network.option 119"] == "119"
    assert len([name for name in run.data.metrics if name.startswith("accuracy/")]) == 1200


def test_a_server_that_does_not_answer_is_told_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens on the port discard
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UsageError) as caught:
        start_trackers(choose_trackers(["mlflow"]), tmp_path)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INACCESSIBLE, "track", "mlflow")
    assert not (tmp_path / "mlflow").exists()
