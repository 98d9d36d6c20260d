"""Folders in, one folder out: nothing is lost, nothing is overwritten, and no folder is changed."""

import json
from dataclasses import replace

import pytest

from capsbench import merge
from capsbench.errors import Kind, UsageError
from capsbench.merging import ConflictError
from capsbench.merging.sources import read_sources
from capsbench.records.file import seal_json
from capsbench.records.sharing.leases import Leases
from capsbench.records.software.requirements import write_requirements
from capsbench.records.store import Store
from capsbench.records.tuning import Tuning
from capsbench.records.tuning.trials import open_trials, read_trials
from tests.making import make_capsules, make_failed, make_record
from tests.merging.folders import (
    ACCURACY,
    LATENCY,
    ROTATED,
    read_files,
    write_artifact,
    write_network,
    write_transfer,
)
from tests.records.old import write_old


@pytest.fixture
def a(tmp_path):
    return tmp_path / "a"


@pytest.fixture
def b(tmp_path):
    return tmp_path / "b"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_two_folders_become_one_and_stay_as_they_are(a, b, out):
    one = write_network(a, seed=0, kept=b"arrays")
    other = write_network(b, seed=1, weights=b"others")
    write_transfer(a, one, one)
    Store(a).write_run([one.cell], "capsbench run")
    for folder, versions in ((a, "numpy==1"), (a, "numpy==2"), (b, "numpy==2"), (b, "numpy==3")):
        write_requirements(folder, versions)
    before = read_files(a), read_files(b)
    merged = merge([a, b], out)
    assert (merged.cells, merged.added, merged.extended) == (2, [one.cell.id, other.cell.id], [])
    assert (merged.left_out, merged.remarks) == ([], [])
    assert read_files(out) == before[0] | before[1]
    assert (read_files(a), read_files(b)) == before


def test_the_same_merge_again_changes_nothing(a, b, out):
    for folder, rows in ((a, [ACCURACY, LATENCY]), (b, [ACCURACY, ROTATED])):
        Store(folder).write_run([write_network(folder, rows).cell], "capsbench run")
    assert merge([a, b], out).added
    before = read_files(out)
    merged = merge([a, b], out)
    assert (merged.cells, merged.added, merged.extended) == (1, [], [])
    assert read_files(out) == before


def test_one_network_of_two_folders_has_the_measures_of_both(a, b, out):
    write_network(a, [ACCURACY, LATENCY], request={"routing": "em", "measure": "accuracy,speed"})
    write_network(b, [ACCURACY, ROTATED], request={"routing": "em", "measure": "accuracy,affine,transfer"})
    merge([a, b], out)
    (record,) = Store(out).records()[0]
    assert {*record.measures} == {"accuracy", "speed", "affine"}
    assert record.request == {"routing": "em", "measure": "accuracy,affine,speed,transfer"}
    assert record.status == "finished"


def test_a_folder_is_merged_into_another_which_keeps_what_it_has(a, b):
    before = write_network(a, [ACCURACY, LATENCY], seed=0)
    write_network(b, [ACCURACY, ROTATED, LATENCY._replace(value=9.0)], seed=0)
    write_network(b, seed=1)
    for out in (a, a / ".." / "a"):
        merged = merge([a, b], out)
    assert (merged.added, merged.extended) == ([], [])
    record = Store(a).read(before.cell.id)
    assert {*record.rows} == {ACCURACY, ROTATED, LATENCY}
    assert len(Store(a).records()[0]) == 2
    (remark,) = merged.remarks
    assert remark.startswith("speed: 1 network ")


def test_a_failed_network_gives_way_to_a_trained_one(a, b, out):
    cell = make_capsules()
    Store(a).write(make_failed(cell))
    Store(out).write(make_failed(cell))
    assert merge([a], out).extended == []
    write_network(b)
    assert merge([a, b], out).extended == [cell.id]
    (record,) = Store(out).records()[0]
    assert (record.status, record.failures) == ("finished", {})
    assert Store(out).has_weights(record)
    assert merge([a], out).extended == []


def test_two_trainings_of_one_network_are_a_conflict_and_nothing_is_written(a, b, out):
    record = write_network(a, weights=b"one", provenance={"cpu": "x", "torch": "2"})
    write_network(b, weights=b"other", provenance={"cpu": "y", "torch": "2"})
    with pytest.raises(ConflictError) as caught:
        merge([a, b], out)
    (line,) = caught.value.conflicts
    assert str(a / "records" / f"{record.cell.id}.json") in line
    assert str(b / "records" / f"{record.cell.id}.json") in line
    assert "cpu x and y" in line
    assert "torch" not in line
    assert caught.value.kind is Kind.CONFLICT
    assert not out.exists()


def test_different_numbers_of_one_measure_are_a_conflict(a, b, out):
    write_network(a, [ACCURACY, ROTATED])
    write_network(b, [ACCURACY, ROTATED._replace(value=0.6)])
    with pytest.raises(ConflictError) as caught:
        merge([a, b], out)
    (line,) = caught.value.conflicts
    assert "affine" in line
    assert "accuracy rotation is 0.5 fraction and 0.6 fraction" in line


def test_numbers_that_the_user_decided_about_are_not_called_times(a, b, out):
    write_network(a, [ROTATED, LATENCY])
    write_network(b, [ROTATED._replace(value=0.6), LATENCY._replace(value=9.0)])
    (remark,) = merge([a, b], out, prefer=b).remarks
    assert remark.startswith("speed: 1 network ")


def test_the_results_of_a_preferred_folder_count(a, b, out, tmp_path):
    write_network(a, [ACCURACY, ROTATED], weights=b"one", kept=b"one")
    other = write_network(b, [ACCURACY], weights=b"other", kept=b"other")
    write_transfer(a, other, other, 0.1)
    write_transfer(b, other, other, 0.2)
    merge([a, b], out, prefer=b)
    (record,) = Store(out).add_between(Store(out).records()[0])
    assert (out / record.training.weights.path).read_bytes() == b"other"
    assert (out / record.measures["accuracy"].kept.path).read_bytes() == b"other"
    assert {*record.measures} == {"accuracy", "transfer"}
    assert [row.value for row in record.measures["transfer"].rows] == [0.2]
    merge([a, b], out, prefer=[b])  # again, as after a crash
    with pytest.raises(ConflictError):
        merge([a, b], out, prefer=a)  # what the merged folder has is never overwritten
    merge([a, b], out, prefer=[out])
    merge([a, b], tmp_path / "another", prefer=[a, b])
    assert {*Store(tmp_path / "another").records()[0][0].measures} == {"accuracy", "affine"}


def test_a_preferred_folder_that_is_not_merged_is_refused(a, out):
    write_network(a)
    with pytest.raises(UsageError) as caught:
        merge([a], out, prefer="elsewhere")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.UNKNOWN, "prefer", "elsewhere")
    assert caught.value.expected == (str(a),)


def test_a_damaged_file_is_left_out_unless_another_folder_has_it_whole(a, b, out):
    write_network(a, seed=0, kept=b"arrays")
    lost = write_network(a, seed=1)
    Store(a).weights_path(lost.cell.id).write_bytes(b"changed")
    damaged = Store(a).record_path(write_network(a, seed=2).cell.id)
    damaged.write_bytes(damaged.read_bytes()[:-9])
    left_out = merge([a], out).left_out
    assert [str(damaged) in line for line in left_out] == [True, False]
    assert str(Store(a).weights_path(lost.cell.id)) in left_out[1]
    assert len(Store(out).records()[0]) == 2
    assert not Store(out).has_weights(Store(out).read(lost.cell.id))
    write_network(b, seed=1)
    write_network(b, seed=2)
    merged = merge([b, a], out)
    assert [str(damaged) in line for line in merged.left_out] == [True]
    assert len(Store(out).records()[0]) == 3
    assert Store(out).weights_path(lost.cell.id).read_bytes() == b"weights"


def test_reference_results_without_weights_are_merged(a, out):
    record = write_network(a)
    Store(a).weights_path(record.cell.id).unlink()
    assert merge([a], out).left_out == []
    assert Store(out).read(record.cell.id).training == record.training


def test_records_of_schema_1_get_todays_form_and_digests(a, b, out):
    record = write_network(b, [ACCURACY, ROTATED])
    for measures in (["accuracy"], ["affine"]):
        write_old(record, a, measures, Store(b))
    for path in (a / "weights").iterdir():
        write_artifact(Store(a), path, b"not tensors")
    merged = merge([a], out)
    assert ["not tensors" not in line and "weights" in line for line in merged.left_out] == [True]
    (joined,) = Store(out).records()[0]
    assert len(joined.aliases) == 2
    assert {*joined.measures} == {"accuracy", "affine"}
    assert len([*(out / "records").iterdir()]) == 1


def test_schema_1_and_schema_2_of_one_training_are_one(a, b, out):
    new = write_network(b, [ACCURACY, ROTATED])
    old = write_old(new, a, ["accuracy"], Store(b))
    merge([a, b], out)
    (record,) = Store(out).records()[0]
    assert (record.aliases, {*record.measures}) == ([old], {"accuracy", "affine"})
    assert Store(out).weights_of(record).read_bytes() == b"weights"
    assert merge([a, b], out).extended == []


def test_a_folder_with_files_of_a_newer_capsbench_is_refused(a, b, out):
    record = write_network(a)
    path = Store(a).record_path(record.cell.id)
    content = json.loads(path.read_bytes()) | {"schema": 3}
    del content["digest"]
    path.write_bytes(seal_json(content))
    write_network(b, seed=1)
    for folders, into in (([a, b], out), ([b], a)):
        with pytest.raises(UsageError) as caught:
            merge(folders, into)
        assert (caught.value.kind, caught.value.file, caught.value.value) == (Kind.DAMAGED, path, 3)
    assert not out.exists()


def test_what_is_no_results_folder_is_refused(a, out):
    with pytest.raises(UsageError) as caught:
        merge([a], out)
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.MISSING, "FOLDER", a)
    with pytest.raises(UsageError) as caught:
        merge([], out)
    assert (caught.value.kind, caught.value.flag) == (Kind.INVALID, "FOLDER")


def test_a_cell_on_which_another_command_works_is_not_written(a, out):
    cells = [write_network(a, seed=seed).cell for seed in (0, 1)]
    with Leases(out) as leases:
        leases.take(cells[0].id)
        with pytest.raises(UsageError) as caught:
            merge([a], out)
    assert (caught.value.kind, caught.value.file) == (Kind.BUSY, out)
    assert [record.cell for record in Store(out).records()[0]] == cells[1:]
    assert merge([a], out).added == [cells[0].id]


def test_a_record_that_another_command_writes_meanwhile_is_not_overwritten(a, out, monkeypatch):
    write_network(a, weights=b"one")

    def read_late(folders, target):
        sources = read_sources(folders, target)
        write_network(out, weights=b"other")
        return sources

    monkeypatch.setattr("capsbench.merging.merger.read_sources", read_late)
    with pytest.raises(UsageError) as caught:
        merge([a], out)
    assert caught.value.kind is Kind.BUSY
    (record,) = Store(out).records()[0]
    assert Store(out).weights_of(record).read_bytes() == b"other"


def test_rows_between_networks_of_different_folders_are_all_there(a, b, out):
    one, other = (write_network(a, seed=seed) for seed in (0, 1))
    for seed in (0, 1):
        write_network(b, seed=seed)
    write_transfer(a, one, other)
    write_transfer(b, other, one)
    damaged = write_transfer(b, other, other)
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert [str(damaged) in line for line in merge([a, b], out).left_out] == [True]
    assert len(Store(out).between_paths()) == 2
    write_transfer(b, one, other, 0.4)
    with pytest.raises(ConflictError) as caught:
        merge([a, b], out)
    assert "success rate" in caught.value.conflicts[0]


def test_a_network_that_no_folder_was_to_train_again_is_not_trained_again(a, b, out):
    cells = [make_capsules(seed=seed) for seed in (0, 1, 2)]
    store = Store(a)
    for _ in range(2):
        store.write_run(cells, "capsbench run")
    store.write_run(cells, "capsbench run --fresh", anew=[cell.id for cell in cells])
    write_network(a, seed=0, run=3)
    write_network(a, seed=1, run=1)  # the fresh run was interrupted
    write_network(b, seed=2, run=1)  # its run 1 tells nothing of the fresh run
    Store(b).write_run(cells[2:], "capsbench run")
    merge([a, b], out)
    runs = {record.cell.seed: record.training.run for record in Store(out).records()[0]}
    assert runs == {0: 3, 1: 1, 2: 3}
    write_network(a, seed=1, run=4)
    store.write_run(cells, "capsbench run")
    merge([a, b], out)
    assert Store(out).read(cells[1].id).training.run == 4


def test_a_cell_of_another_folder_has_its_own_number_of_a_run(a, b, out):
    for folder, run in ((a, 2), (b, 5)):
        record = write_network(folder, run=run)
    merge([a, b], out)
    (merged,) = Store(out).records()[0]
    assert merged == replace(record, training=replace(record.training, run=5))


def write_trial(folder, seed):
    tuning = Tuning("0123456789ab", seed=0, studies=1, trials=4, study=0, trial=seed, start={"learning_rate": 0.003})
    trial = replace(make_record(make_capsules(seed=seed)), role="trial", tuning=tuning)
    open_trials(folder).write(trial)
    return trial


def test_the_trials_of_searches_are_merged_too(a, b, out):
    write_network(a, seed=0)
    write_network(b, seed=1)
    one, both, other = write_trial(a, 10), write_trial(a, 11), write_trial(b, 12)
    write_trial(b, 11)
    merged = merge([a, b], out)
    assert merged.cells == 2  # results
    assert len(merged.remarks) == 1
    trials = {trial.cell.id: trial for trial in read_trials(out)}
    assert trials == {trial.cell.id: trial for trial in (one, both, other)}


def test_trials_that_contradict_each_other_leave_nothing_written(a, b, out):
    write_network(a, seed=0)
    write_network(b, seed=1)
    for folder, started, loss in ((a, "2026-01-01", 0.1), (b, "2026-01-02", 0.2)):
        trial = write_trial(folder, 10)
        history = [{"epoch": 1, "loss": loss, "validation_accuracy": 0.5}]
        assert trial.training is not None
        open_trials(folder).write(replace(trial, training=replace(trial.training, started=started, history=history)))
    with pytest.raises(ConflictError):
        merge([a, b], out)
    assert not out.exists()
    merge([a, b], out, prefer=b)
    (kept,) = read_trials(out)
    assert kept.history[0]["loss"] == 0.2
