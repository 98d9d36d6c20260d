"""One cell in this process: from its fields to what lies in the store."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from capsbench import registry
from capsbench.errors import TrainingFailed
from capsbench.networks.build import build_network
from capsbench.planning.matrix import PlannedCell
from capsbench.records.software.provenance import provenance
from capsbench.records.store import Store
from capsbench.routing import DynamicRouting
from capsbench.running.cell_job import prepare_process, run_cell
from capsbench.running.events import Measured, Measuring, NotMeasured, Trained
from capsbench.running.executors.base import Place
from capsbench.running.state import record_training


@pytest.fixture(autouse=True)
def own_settings():
    """Gives back the threads and the deterministic mode that `prepare_process` sets for its process."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def cell(make_cell):
    return make_cell(train_size=64, epochs=2, batch=32, measure="accuracy")


def events_of(cell, store, measures=("accuracy",), record=None):
    """What a cell sends as it is trained and measured, without its progress."""
    events = []
    run_cell(PlannedCell(cell), [*measures], record, 60.0, Place(store, Path()), events.append)
    return [event for event in events if isinstance(event, Trained | Measuring | Measured)]


def kept_of(store, event):
    """What a measure kept, by its event."""
    return store.read_artifact(event.kept)


def test_a_cell_leaves_weights_predictions_history_and_rows(cell, store):
    result, measuring, measured = events_of(cell, store)
    assert [epoch["epoch"] for epoch in result.history] == [1, 2]
    assert result.backends == ["cpu"]
    assert (measuring.spec, measured.spec) == ("accuracy", "accuracy")
    assert kept_of(store, measured).keys() == {"label", "prediction", "nll"}
    assert result.provenance == measured.provenance == provenance()
    accuracy = next(row.value for row in measured.rows if (row.metric, row.condition) == ("accuracy", "test"))
    kept = kept_of(store, measured)
    assert accuracy == (kept["label"] == kept["prediction"]).mean()


class AboveOneOnceTrained(DynamicRouting):
    """Gives activations from 0 to 1 until its network is trained."""

    trained = False

    def forward(self, poses, weights, activations, offset=None):
        self.trained = self.trained or self.training
        found, active = super().forward(poses, weights, activations, offset)
        return found, active + self.trained


def test_what_leaves_its_range_by_training_is_told_before_it_is_measured(make_cell, store, monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN["routing"], "above", f"{__name__}:AboveOneOnceTrained")
    with pytest.raises(TrainingFailed, match="activations"):
        events_of(make_cell(routing="above", train_size=64, epochs=1), store)


def test_the_same_cell_gives_the_same_bits(cell, tmp_path):
    stores = [Store(tmp_path / name) for name in ("first", "second")]
    for state, store in enumerate(stores):
        torch.manual_seed(state)  # whatever state the process is in
        events_of(cell, store)
    files = [
        (store.weights_path(cell.id).read_bytes(), store.kept_path("accuracy", cell.id).read_bytes())
        for store in stores
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize("seed", [0, 1])
def test_weights_are_drawn_from_the_cells_seed(make_cell, store, seed):
    """As they stay where the rate is too small for a step to move them."""
    cell = make_cell(seeds=seed, train_size=40, epochs=1, lr=1e-30, measure="accuracy")
    events_of(cell, store)
    torch.manual_seed(seed)
    drawn = dict(build_network(cell).named_parameters())
    found = load_file(store.weights_path(cell.id))
    assert all(torch.equal(found[name], weights) for name, weights in drawn.items())


def test_a_later_measure_sees_the_trained_weights(cell, store):
    trained, _, before = events_of(cell, store)
    record = record_training(PlannedCell(cell), trained)
    weights = load_file(store.weights_path(cell.id))
    measuring, after = events_of(cell, store, record=record)
    assert (measuring.spec, after.rows) == ("accuracy", before.rows)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in load_file(store.weights_path(cell.id)).items())


def test_a_cnn_uses_no_backend(make_cell, store):
    cell = make_cell(network="cnn-hinton2018", train_size=40, epochs=1, measure="accuracy")
    assert events_of(cell, store)[0].backends == []


def test_a_network_with_an_objective_of_its_own_is_trained_and_measured(make_cell, store):
    cell = make_cell(network="transforming-autoencoder", train_size=40, epochs=2)
    result, _, measured = events_of(cell, store, ["transformation"])
    assert result.history[-1].keys() & {"validation_accuracy", "validation_loss"} == {"validation_loss"}
    assert {row.measure for row in measured.rows} == {"transformation"}
    record = record_training(PlannedCell(cell), result)
    assert events_of(cell, store, ["transformation"], record)[-1].rows == measured.rows


HALF = """
import torch
from capsbench.measures import Measure
from capsbench.records.record import Row

class Half(Measure):
    def __call__(self, subject):
        subject.keep({"length": torch.tensor([0.5, 3.0], dtype=torch.bfloat16)})
        return [Row("half", "length", "test", 3.5, "pixels")]
"""


def test_what_a_measure_keeps_in_bfloat16_comes_back(cell, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "precise.py").write_text(HALF)
    registry.trust(["precise:Half"])
    *_, measured = events_of(cell, store, ["precise:Half"])
    assert kept_of(store, measured)["length"].tolist() == [0.5, 3.0]


FAULTY = """
from capsbench.measures import Measure

class Faulty(Measure):
    def __call__(self, subject):
        raise RuntimeError("no such luck")
"""


def test_a_measure_that_fails_does_not_keep_the_next_from_being_taken(cell, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unlucky.py").write_text(FAULTY)
    registry.trust(["unlucky:Faulty"])
    events = []
    run_cell(PlannedCell(cell), ["unlucky:Faulty", "accuracy"], None, 60.0, Place(store, Path()), events.append)
    assert [event.spec for event in events if isinstance(event, Measured)] == ["accuracy"]
    (failed,) = (event for event in events if isinstance(event, NotMeasured))
    assert (failed.spec, str(failed.failure)) == ("unlucky:Faulty", "RuntimeError: no such luck")
    assert "unlucky.py" in failed.failure.trace


CHANGING = """
import torch

from capsbench.measures import Measure, Row


class Changing(Measure):
    def __call__(self, subject):
        subject.data.test.images[:] = 0
        with torch.no_grad():
            next(subject.network.parameters()).zero_()
        return [Row("changing", "m", "", 1.0, "u")]
"""


def test_a_measure_that_changes_what_it_measures_fails_and_the_next_sees_it_unchanged(
    cell, store, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "changing.py").write_text(CHANGING)
    registry.trust(["changing:Changing"])
    events = []
    run_cell(PlannedCell(cell), ["changing:Changing", "accuracy"], None, 60.0, Place(store, Path()), events.append)
    (failure,) = [event.failure for event in events if isinstance(event, NotMeasured)]
    assert "weights, test images" in str(failure)
    (measured,) = [event for event in events if isinstance(event, Measured)]
    *_, alone = events_of(cell, Store(tmp_path / "other"))
    assert measured.rows == alone.rows


def test_prepare_sets_up_the_process_and_gives_images_in_the_cells_precision(make_cell):
    data, _ = prepare_process(PlannedCell(make_cell(precision="float64", threads=1, train_size=50)), Path())
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert {part.images.dtype for part in data.by_name().values()} == {torch.float64}
    assert [len(part.labels) for part in data.by_name().values()] == [50, 200, 500]


@pytest.mark.parametrize("shared", [True, False])
def test_a_time_that_was_taken_beside_other_jobs_says_so(cell, store, shared):
    events = []
    place = Place(store, Path(), shared=shared)
    run_cell(PlannedCell(cell), ["accuracy", "speed:quick"], None, 60.0, place, events.append)
    facts = {
        event.spec: event.provenance.get("shared_machine", False) for event in events if isinstance(event, Measured)
    }
    assert facts == {"accuracy": False, "speed:quick": shared}
