"""A network is not its measures: what is missing, or stale, is measured or trained, and nothing else is."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import capsbench
from capsbench import registry
from capsbench.data import Splits
from capsbench.errors import CallInterrupted, Kind, NothingMeasured, UsageError
from capsbench.measures.accuracy.measure import Accuracy
from capsbench.planning.matrix import plan_cells
from capsbench.records.store import Store
from capsbench.running import cell_job
from capsbench.running.on_record import look_up
from tests.making import make_capsules, make_record
from tests.records.old import write_old

QUICK = dict(routing="dynamic", train_size=40, epochs=1, seeds=0, baseline="none")

pytestmark = pytest.mark.usefixtures("in_one_process")


@pytest.fixture
def trainings(monkeypatch):
    """The titles of the cells that were trained, in order."""
    trained = []
    train = cell_job.train

    def count(cell, *arguments):
        trained.append(cell.title)
        return train(cell, *arguments)

    monkeypatch.setattr(cell_job, "train", count)
    return trained


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results"


def run(folder, **request):
    return capsbench.run(out=folder, **{**QUICK, **request})


def only_record(folder):
    (record,) = Store(folder).records()[0]
    return record


def test_one_more_measure_is_one_training_and_one_record(folder, trainings):
    run(folder, measure="accuracy")
    store = Store(folder)
    before = only_record(folder)
    weights = store.weights_of(before).read_bytes()
    outcome = run(folder, measure="accuracy,affine:quick")
    after = only_record(folder)
    assert len(trainings) == 1
    assert outcome.finished == [before.cell.id]
    assert len(list((folder / "records").iterdir())) == len(list((folder / "weights").iterdir())) == 1
    assert store.weights_of(after).read_bytes() == weights
    assert after.training == before.training
    assert after.measures["accuracy"] == before.measures["accuracy"]
    assert after.measured == ["accuracy", "affine:quick"]
    assert [after.measures[spec].run for spec in after.measured] == [1, 2]
    assert run(folder, measure="affine:quick").on_record == [before.cell.id]


def test_a_network_is_trained_alone_and_measured_later(folder, trainings):
    run(folder, measure="none")
    assert only_record(folder).measured == []
    assert only_record(folder).status == "finished"
    run(folder, measure="accuracy")
    assert (len(trainings), only_record(folder).measured) == (1, ["accuracy"])


TWO = """
import torch
from capsbench.measures import Measure
from capsbench.records.record import Row

class Two(Measure):
    settings = ("light", "full")

    def __call__(self, subject):
        number = float(self.settings.index(self.setting))
        subject.keep({"number": torch.tensor([number])})
        return [Row("two", "number", "test", number, "fraction")]
"""


def test_two_settings_of_a_measure_stand_beside_each_other(folder, tmp_path, trainings):
    (tmp_path / "two.py").write_text(TWO)
    run(folder, measure="two:Two")
    run(folder, measure="two:Two:full")
    record, store = only_record(folder), Store(folder)
    assert {spec: found.rows[0].value for spec, found in record.measures.items()} == {"two:Two": 0, "two:Two:full": 1}
    assert [store.kept(record, spec)["number"].tolist() for spec in record.measures] == [[0.0], [1.0]]
    assert capsbench.load(folder).query("measure == 'two'")[["setting", "value"]].values.tolist() == [
        ["default", 0.0],
        ["full", 1.0],
    ]
    assert len(trainings) == 1


def test_an_edited_measure_of_ones_own_is_taken_again(folder, tmp_path, trainings):
    (tmp_path / "edited.py").write_text(TWO)
    run(folder, measure="accuracy,edited:Two")
    before = only_record(folder)
    (tmp_path / "edited.py").write_text(TWO.replace("float(", "2 + float("))
    run(folder, measure="accuracy,edited:Two")
    after = only_record(folder)
    assert after.measures["edited:Two"].rows[0].value == 2
    assert after.measures["accuracy"] == before.measures["accuracy"]
    assert len(trainings) == 1


def test_a_measure_of_another_version_is_taken_anew_and_nothing_else(folder, trainings, monkeypatch):
    run(folder, measure="accuracy,affine:quick")
    before = only_record(folder)
    monkeypatch.setattr(Accuracy, "version", 2)
    run(folder, measure="accuracy,affine:quick")
    after = only_record(folder)
    assert len(trainings) == 1
    assert (before.measures["accuracy"].version, after.measures["accuracy"].version) == (1, 2)
    assert after.measures["affine:quick"] == before.measures["affine:quick"]
    assert len(after.rows) == len(before.rows)


def test_networks_with_a_component_of_another_version_are_trained_anew_and_no_others(folder, trainings, monkeypatch):
    request = dict(routing="dynamic,uniform", measure="accuracy")
    run(folder, **request)
    del trainings[:]
    declared = registry.declared_version
    monkeypatch.setattr(
        registry, "declared_version", lambda kind, name: 2 if name == "dynamic" else declared(kind, name)
    )
    outcome = run(folder, **request)
    assert trainings == ["capsnet dynamic x3 tiny, digits[40], seed 0"]
    assert (len(outcome.finished), len(outcome.on_record)) == (1, 1)
    assert {record.training.versions["routing"] for record in Store(folder).records()[0]} == {1, 2}
    assert len(run(folder, **request).on_record) == 2


def test_a_network_of_schema_1_is_measured_from_its_weights(folder, tmp_path, trainings):
    run(tmp_path / "now", measure="accuracy")
    made = only_record(tmp_path / "now")
    old = write_old(made, folder, ["accuracy"], Store(tmp_path / "now"))
    assert run(folder, measure="accuracy").on_record == [made.cell.id]
    assert [path.stem for path in (folder / "records").iterdir()] == [old]
    outcome = run(folder, measure="accuracy,affine:quick")
    record = only_record(folder)
    assert (len(trainings), outcome.finished, record.aliases) == (1, [made.cell.id], [old])
    assert [path.stem for path in (folder / "records").iterdir()] == [made.cell.id]
    assert record.measures["accuracy"].rows == made.measures["accuracy"].rows
    assert record.measured == ["accuracy", "affine:quick"]


def test_records_of_schema_1_that_differ_in_their_measures_are_one_network(folder, tmp_path, trainings):
    run(tmp_path / "now", measure="accuracy,affine:quick")
    made = only_record(tmp_path / "now")
    old = [write_old(made, folder, [spec], Store(tmp_path / "now")) for spec in made.measured]
    assert len(set(old)) == 2
    outcome = run(folder, measure="accuracy,affine:quick")
    assert (outcome.on_record, len(trainings)) == ([made.cell.id], 1)
    assert sorted(only_record(folder).aliases) == sorted(old)


def test_a_network_trained_anew_takes_the_place_of_its_record_of_schema_1(folder, tmp_path, trainings):
    run(tmp_path / "now", measure="accuracy")
    made = only_record(tmp_path / "now")
    old = write_old(made, folder, ["accuracy"], Store(tmp_path / "now"))
    run(folder, measure="accuracy", fresh=True)
    assert len(trainings) == 2
    assert only_record(folder).aliases == [old]
    assert [path.stem for path in (folder / "weights").iterdir()] == [made.cell.id]


def test_a_training_anew_that_is_cut_off_leaves_what_the_old_record_names(folder, tmp_path, monkeypatch):
    (tmp_path / "edge.py").write_text(BETWEEN)
    run(folder, measure="accuracy,edge:Between")
    store, before = Store(folder), only_record(folder)

    def cut_off(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("capsbench.running.recorder.record_training", cut_off)
    with pytest.raises(CallInterrupted) as stopped:
        run(folder, measure="accuracy,edge:Between", fresh=True)
    assert stopped.value.result.interrupted
    assert only_record(folder) == before
    assert store.kept(before, "accuracy") != {}
    assert store.read_weights(before) != {}
    assert len(capsbench.load(folder).query("measure == 'between'")) == 1


def test_measure_takes_what_is_missing_and_trains_nothing(folder, trainings):
    run(folder, routing="dynamic,uniform", measure="accuracy")
    del trainings[:]
    outcome = capsbench.measure(folder, measure="affine:quick", where=["routing=uniform"])
    measured = {record.cell.routing: record.measured for record in Store(folder).records()[0]}
    assert measured == {"dynamic": ["accuracy"], "uniform": ["accuracy", "affine:quick"]}
    assert (len(outcome.finished), trainings) == (1, [])
    outcome = capsbench.measure(folder, measure="accuracy,affine:quick")
    assert (len(outcome.finished), len(outcome.on_record), trainings) == (1, 1, [])


def test_the_request_of_a_network_names_all_that_was_measured(folder):
    run(folder, measure="accuracy")
    run(folder, measure="affine:quick")
    assert only_record(folder).request["measure"] == "accuracy,affine:quick"
    capsbench.measure(folder, measure="speed:quick")
    record = only_record(folder)
    assert record.request["measure"] == "accuracy,affine:quick,speed:quick"
    assert record.request.keys() == {"routing", "train_size", "epochs", "seeds", "baseline", "measure"}


def test_what_cannot_be_measured_is_refused(folder, trainings):
    for wrong in (UsageError, NothingMeasured):
        with pytest.raises(UsageError) as caught:
            capsbench.measure(folder, measure="accuracy")
        assert (caught.type, caught.value.flag, caught.value.file) == (wrong, "out", folder)
        Store(folder).check_writable()
    run(folder, measure="accuracy")
    with pytest.raises(UsageError) as caught:
        capsbench.measure(folder, measure="transformation")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.CONFLICT, "measure", "transformation")
    store, record = Store(folder), only_record(folder)
    store.weights_of(record).unlink()
    with pytest.raises(UsageError) as caught:
        capsbench.measure(folder, measure="affine:quick")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.MISSING, "measure", "affine:quick")
    assert len(trainings) == 1


def test_measuring_is_no_run(folder):
    run(folder, routing="dynamic,uniform", measure="accuracy")
    capsbench.measure(folder, measure="affine:quick", where=["routing=uniform"])
    (noted,) = Store(folder).runs()
    assert len(noted.cells) == 2


def test_networks_whose_source_was_edited_are_left_out(folder, tmp_path, trainings):
    source = "from capsbench.routing.uniform import UniformRouting as Mine\nclass Own(Mine):\n    pass\n"
    (tmp_path / "owned.py").write_text(source)
    run(folder, routing="owned:Own,dynamic", measure="accuracy")
    (tmp_path / "owned.py").write_text(source + "    edited = True\n")
    outcome = capsbench.measure(folder, measure="affine:quick")
    records = {record.cell.routing: record for record in Store(folder).records()[0]}
    assert records["dynamic"].measured == ["accuracy", "affine:quick"]
    assert (records["owned:Own"].measured, records["owned:Own"].failures) == (["accuracy"], {})
    assert (len(outcome.finished), outcome.failed) == (1, [])
    with pytest.raises(UsageError) as caught:
        capsbench.measure(folder, measure="affine:quick", where=["routing=owned:Own"])
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "out")


BETWEEN = """
from capsbench.measures.base import MeasureBetween
from capsbench.records.record import Row

class Between(MeasureBetween):
    def between(self, source, targets):
        return [[Row("between", "number", source.cell.id, 1.0, "fraction")] for target in targets]
"""


def test_an_edited_measure_between_networks_is_taken_again(folder, tmp_path):
    (tmp_path / "edges.py").write_text(BETWEEN)
    run(folder, measure="accuracy,edges:Between")
    (tmp_path / "edges.py").write_text(BETWEEN.replace("1.0", "2.0"))
    run(folder, measure="accuracy,edges:Between")
    assert capsbench.load(folder).query("measure == 'between'")["value"].tolist() == [2.0]


def test_a_measure_between_networks_is_refused_without_weights(folder, tmp_path):
    (tmp_path / "lines.py").write_text(BETWEEN)
    run(folder, measure="accuracy")
    Store(folder).weights_of(only_record(folder)).unlink()
    with pytest.raises(UsageError) as caught:
        capsbench.measure(folder, measure="lines:Between")
    assert (caught.value.kind, caught.value.value) == (Kind.MISSING, "lines:Between")


def test_a_measure_that_failed_and_is_not_asked_for_any_more_is_forgotten(folder, tmp_path):
    (tmp_path / "failing.py").write_text(TWO.replace("number = float", "raise RuntimeError\n        number = float"))
    run(folder, measure="accuracy,failing:Two")
    assert only_record(folder).failures.keys() == {"failing:Two"}
    outcome = run(folder, measure="accuracy")
    assert (outcome.failed, len(outcome.on_record)) == ([], 1)
    record = only_record(folder)
    assert (record.failures, record.status, record.reason) == ({}, "finished", "")


def test_measuring_ends_as_the_measures_that_it_takes_and_earlier_failures_stay_on_record(folder, tmp_path):
    (tmp_path / "failing.py").write_text(TWO.replace("number = float", "raise RuntimeError\n        number = float"))
    run(folder, measure="accuracy,failing:Two")
    outcome = capsbench.measure(folder, measure="affine:quick")
    assert (outcome.failed, len(outcome.finished), outcome.left) == ([], 1, [])
    record = only_record(folder)
    assert record.failures.keys() == {"failing:Two"}
    assert record.wanted == ["accuracy", "failing:Two", "affine:quick"]
    outcome = capsbench.measure(folder, measure="failing:Two")
    assert [failed.failures.keys() for failed in outcome.failed] == [{"failing:Two"}]


NAMED = """
from capsbench.measures import Measure, MeasureSpec, Metric, Row

TAKEN = []


class Named(Measure):
    spec = MeasureSpec("named", (Metric("m", "u"),))

    def __call__(self, subject):
        TAKEN.append(type(self).__name__)
        return [Row("named", "m", "", 1.0, "u")]


class Renamed(Named):
    pass
"""


def test_a_measure_with_the_name_of_another_on_record_is_refused_before_it_is_taken(folder, tmp_path, trainings):
    (tmp_path / "naming.py").write_text(NAMED)
    run(folder, measure="naming:Named")
    for again in (run, capsbench.measure):
        with pytest.raises(UsageError) as caught:
            again(folder, measure="accuracy,naming:Renamed")
        assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "measure")
        assert caught.value.value == "naming:Renamed"
        assert "naming:Named" in str(caught.value)
    assert sys.modules["naming"].TAKEN == ["Named"]
    assert only_record(folder).failures == {}
    run(folder, measure="naming:Renamed", fresh=True)
    assert (only_record(folder).measured, len(trainings)) == (["naming:Renamed"], 2)


EXTENDING = """
from capsbench.measures.accuracy.measure import Accuracy

class Mine(Accuracy):
    pass
"""


@pytest.mark.parametrize("asked", ["all", None])
def test_a_measure_that_nobody_named_gives_way_to_one_on_record_with_its_numbers(
    asked, folder, tmp_path, monkeypatch, capsys
):
    (tmp_path / "extending.py").write_text(EXTENDING)
    run(folder, measure="extending:Mine")
    cost = {"cost": registry.BUILT_IN["measure"]["cost"], "accuracy": registry.BUILT_IN["measure"]["accuracy"]}
    monkeypatch.setitem(registry.BUILT_IN, "measure", cost)  # the others take long
    monkeypatch.setattr("capsbench.measures.build.list_defaults", lambda: ("accuracy", "cost"))
    (cell,) = run(folder, measure=asked).finished
    assert sorted(Store(folder).read(cell).measured) == ["cost", "extending:Mine"]
    assert "the measure accuracy: " in capsys.readouterr().err
    with pytest.raises(UsageError) as caught:
        run(folder, measure="accuracy")
    assert caught.value.value == "accuracy"


def test_measuring_all_names_what_it_leaves_out(folder, monkeypatch, capsys):
    run(folder, measure="accuracy")
    two = {name: registry.BUILT_IN["measure"][name] for name in ("cost", "viewpoint", "overlap")}
    monkeypatch.setitem(registry.BUILT_IN, "measure", two)
    capsys.readouterr()
    (cell,) = capsbench.measure(folder, measure="all").finished
    assert Store(folder).read(cell).measured == ["accuracy", "cost"]
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "--measure all" in line)
    assert ("viewpoint, overlap (" in line, "cost" in line) == (True, False)


def test_a_process_uses_the_gpu_that_it_sees(monkeypatch):
    moved = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(Splits, "to", lambda splits, to, dtype: moved.append(to))
    (planned,) = plan_cells({**QUICK, "device": "cuda:1", "backend": "reference"})
    cell_job.prepare_process(planned, Path())
    assert moved == ["cuda"]


def test_weights_of_another_network_are_not_measured(folder):
    run(folder, measure="accuracy")
    store, record = Store(folder), only_record(folder)
    weights = store.read_weights(record)
    store.write_tensors(store.weights_of(record), {name: torch.zeros_like(each) for name, each in weights.items()})
    (failed,) = run(folder, measure="affine:quick").failed
    assert "affine:quick" in failed.failures
    assert only_record(folder).measured == ["accuracy"]


def damage(path):
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def test_a_measure_whose_kept_file_is_damaged_is_taken_again_and_nothing_else(folder, trainings, capsys):
    run(folder, measure="accuracy,affine:quick,cost")
    before, path = only_record(folder), Store(folder).kept_path("accuracy", only_record(folder).cell.id)
    content = path.read_bytes()
    damage(path)
    (planned,) = capsbench.api.plan(**QUICK, measure="accuracy,affine:quick,cost").cells
    on_record = look_up([planned], Store(folder))
    assert on_record.damaged == {before.cell.id: ["accuracy"]}
    assert [job.measures for job in on_record.list_remaining([planned])] == [("accuracy",)]
    assert run(folder, measure="affine:quick").on_record == [before.cell.id]  # not asked for
    capsys.readouterr()
    assert run(folder, measure="accuracy,affine:quick,cost").finished == [before.cell.id]
    assert [line for line in capsys.readouterr().err.splitlines() if str(path) in line] == on_record.remarks
    after = only_record(folder)
    assert path.read_bytes() == content
    assert after.measures["accuracy"].rows == before.measures["accuracy"].rows
    assert (after.measures["accuracy"].run, after.measures["affine:quick"].run) == (3, 1)
    assert after.training == before.training
    assert len(trainings) == 1
    assert run(folder, measure="accuracy,affine:quick,cost").on_record == [before.cell.id]


def test_measure_takes_a_measure_again_whose_kept_file_is_damaged(folder, trainings):
    run(folder, measure="accuracy")
    path = Store(folder).kept_path("accuracy", only_record(folder).cell.id)
    content = path.read_bytes()
    damage(path)
    assert len(capsbench.measure(folder, measure="accuracy").finished) == 1
    assert (path.read_bytes(), len(trainings)) == (content, 1)


def test_numbers_stay_where_a_kept_file_is_damaged_and_the_weights_are_gone(folder, trainings):
    run(folder, measure="accuracy")
    store, before = Store(folder), only_record(folder)
    damage(store.kept_path("accuracy", before.cell.id))
    store.weights_of(before).unlink()
    (planned,) = capsbench.api.plan(**QUICK, measure="accuracy").cells
    (remark,) = look_up([planned], store).remarks
    assert "--fresh" in remark
    assert run(folder, measure="accuracy").on_record == [before.cell.id]
    assert (only_record(folder), len(trainings)) == (before, 1)


def test_an_absent_kept_file_is_not_damaged(folder, trainings):
    run(folder, measure="accuracy")
    store, before = Store(folder), only_record(folder)
    store.kept_path("accuracy", before.cell.id).unlink()
    assert run(folder, measure="accuracy").on_record == [before.cell.id]


def test_a_measure_that_fails_when_it_is_taken_again_keeps_its_numbers(folder, trainings, monkeypatch):
    run(folder, measure="accuracy")
    store, before = Store(folder), only_record(folder)
    damage(store.kept_path("accuracy", before.cell.id))

    def fail(measure, subject):
        raise RuntimeError("not now")

    monkeypatch.setattr(Accuracy, "__call__", fail)
    (failed,) = run(folder, measure="accuracy").failed
    assert failed.measures == before.measures
    assert failed.failures.keys() == {"accuracy"}


def test_a_record_of_schema_1_that_a_kill_left_beside_its_successor_goes_at_the_next_run(folder, tmp_path, trainings):
    run(tmp_path / "now", measure="accuracy")
    new = only_record(tmp_path / "now")
    old = write_old(new, folder, ["accuracy"], Store(tmp_path / "now"))
    left = (folder / "records" / f"{old}.json").read_bytes()
    run(folder, measure="accuracy,affine:quick")
    (folder / "records" / f"{old}.json").write_bytes(left)
    other = write_old(make_record(make_capsules(seed=7)), folder, [])
    assert run(folder, measure="accuracy").on_record == [new.cell.id]
    assert {path.stem for path in (folder / "records").iterdir()} == {new.cell.id, other}
    record = Store(folder).read(new.cell.id)
    assert (record.aliases, record.measured, len(trainings)) == ([old], ["accuracy", "affine:quick"], 1)


def test_a_record_of_a_newer_schema_ends_the_run_before_it_starts(folder, trainings):
    run(folder, measure="accuracy")
    record = only_record(folder)
    path = Store(folder).record_path(record.cell.id)
    newer = path.read_text().replace('"schema": 2', '"schema": 3')
    path.write_text(newer)
    with pytest.raises(UsageError) as caught:
        run(folder, measure="accuracy", fresh=True)
    assert (caught.value.file, caught.value.value) == (path, 3)
    assert path.read_text() == newer
    assert len(trainings) == 1


def test_on_the_command_line(capsbench, folder, trainings):
    asked = ["--routing", "dynamic", "--train-size", "40", "--epochs", "1", "--seeds", "0", "--baseline", "none"]
    assert capsbench("run", *asked, "--no-measure", cwd=folder.parent).returncode == 0
    plan = capsbench("run", *asked, "--measure", "accuracy", "--dry-run", cwd=folder.parent)
    assert "trained; to measure: accuracy" in plan.stdout
    done = capsbench("measure", "--measure", "accuracy", "--where", "iters=3", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 cells on record" in done.stdout
    both = capsbench("run", *asked, "--no-measure", "--measure", "accuracy", cwd=folder.parent)
    assert (both.returncode, "--no-measure" in both.stderr, "--measure" in both.stderr) == (2, True, True)
    old = replace(only_record(folder), aliases=["0123456789ab"])
    Store(folder).write(old)
    for command in (
        ["show", "0123456789ab", "--images", "1"],
        ["report", "--where", "cell=0123456789ab", "--format", "md"],
    ):
        assert capsbench(*command, cwd=folder.parent).returncode == 0
    assert len(trainings) == 1


def test_a_measure_that_needs_no_weights_is_taken_without_them(folder, trainings):
    run(folder, measure="cost")
    store = Store(folder)
    before = only_record(folder)
    store.write(replace(before, measures={}, wanted=[]))
    store.weights_of(before).unlink()
    outcome = capsbench.measure(folder, measure="cost")
    assert outcome.finished == [before.cell.id]
    assert only_record(folder).measures["cost"].rows == before.measures["cost"].rows
    with pytest.raises(UsageError) as caught:
        capsbench.measure(folder, measure="cost,speed:quick")
    assert (caught.value.flag, caught.value.value) == ("measure", "speed:quick")
    assert len(trainings) == 1


def test_each_measure_is_taken_of_one_network_at_least(folder):
    run(folder, measure="accuracy")
    with pytest.raises(UsageError) as caught:
        capsbench.measure(folder, measure="affine:quick,transformation")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.CONFLICT, "measure", "transformation")
    assert only_record(folder).measured == ["accuracy"]
