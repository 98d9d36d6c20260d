"""A run takes the place of a reference, or is refused; `tests.faults.test_update` stops the swap at each step."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from capsbench.comparing import check
from capsbench.comparing.update import update
from capsbench.errors import Kind, StorageFailed, UsageError
from capsbench.records.record import Measurement, Row
from capsbench.records.software.requirements import read_requirements, write_requirements
from capsbench.records.store import Store
from tests.comparing.records import NETWORKS, PROVENANCE, SEEDS, all_right, cell, draws, keep_predictions, record, write
from tests.making import make_failed


def test_update_puts_the_run_in_the_place_of_the_reference(reference, tmp_path):
    records = [each for seed in SEEDS for each in draws(seed + 10, NETWORKS[:2])]
    records[0] = all_right(records[0])
    out = write(tmp_path / "out", records)
    keep_predictions(out, records[0], [True] * 5)
    (out / "weights").mkdir()
    (out / "weights" / "large.safetensors").write_bytes(b"0")
    write_requirements(reference, "# of before\n")
    versions = write_requirements(out, "# of the run\n")
    assert update(reference, out) == ["10 records came", "20 records went", "0 records were written anew"]
    files = {path.relative_to(reference).parts[0] for path in reference.rglob("*") if path.is_file()}
    assert files == {"records", "kept", "requirements"}
    assert [path.name for path, _ in read_requirements(reference)] == [versions.name]
    assert check(reference, out).findings == []
    store = Store(reference)
    made = store.read(records[0].cell.id)
    assert store.kept(made, "accuracy")["label"].tolist() == [0, 1, 2, 3, 4]
    content = store.kept_path("accuracy", made.cell.id).read_bytes()
    assert made.measures["accuracy"].kept.sha256 == hashlib.sha256(content).hexdigest()
    assert made.measures["affine"].kept is None


def test_update_refuses_what_is_no_reference_and_changes_nothing(reference, tmp_path):
    before = sorted(reference.rglob("*"))
    few = write(tmp_path / "few", [*draws(0), *draws(1)])
    with pytest.raises(UsageError) as caught:
        update(reference, few)
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.CONFLICT, "out", few)
    assert caught.value.value == 2  # seeds
    failed = make_failed(cell(9, routing="uniform"), "the loss became nan")
    out = write(tmp_path / "failed", [*(each for seed in SEEDS for each in draws(seed)), failed])
    with pytest.raises(UsageError) as caught:
        update(reference, out)
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.DAMAGED, "out", out)
    assert failed.reason in caught.value.problem
    assert sorted(reference.rglob("*")) == before


def everything_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("written", [0, 7])
def test_an_update_that_the_disk_does_not_take_leaves_the_reference_as_it_was(
    reference, tmp_path, monkeypatch, written
):
    (reference / "README.md").write_text("made on the old machine")
    before, whole, left = everything_in(reference), Store.write, iter(range(written))

    def full(store, each):
        if next(left, None) is None:
            raise StorageFailed("No space left on device")
        whole(store, each)

    out = write(tmp_path / "out", [each for seed in SEEDS for each in draws(seed + 10)])
    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(StorageFailed):
        update(reference, out)
    assert everything_in(reference) == before
    assert sorted(path.name for path in reference.iterdir()) == ["README.md", "records"]


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_an_update_that_is_stopped_between_its_renames_puts_all_back(reference, tmp_path, monkeypatch, at, error):
    old, new = ([each for seed in SEEDS for each in draws(seed + first)] for first in (0, 10))
    out = tmp_path / "out"
    for folder, records in ((reference, old), (out, new)):
        write(folder, [all_right(records[0]), *records[1:]])
        keep_predictions(folder, records[0], [True] * 5)
    before, rename, moves = everything_in(reference), Path.rename, iter(range(100))

    def stopped(path, target):
        if next(moves) == at:
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises((StorageFailed, KeyboardInterrupt)):
        update(reference, out)
    assert everything_in(reference) == before
    assert sorted(path.name for path in reference.iterdir()) == ["kept", "records"]


def test_while_an_update_writes_the_old_reference_is_whole(reference, tmp_path, monkeypatch):
    """So a process that is killed then leaves it so."""
    out = write(tmp_path / "out", [each for seed in SEEDS for each in draws(seed + 10)])
    before, whole, found = everything_in(reference), Store.write, []

    def looked_at(store, each):
        whole(store, each)
        now = everything_in(reference)
        found.append({path: now.get(path) for path in before})

    monkeypatch.setattr(Store, "write", looked_at)
    update(reference, out)
    assert found == [before] * 20


def test_update_keeps_what_else_is_in_the_folder_and_refuses_the_folder_of_a_run(reference, tmp_path):
    (reference / "README.md").write_text("made on the old machine")
    out = write(tmp_path / "out", [each for seed in SEEDS for each in draws(seed + 10)])
    update(reference, out)
    assert (reference / "README.md").exists()
    (out / "weights").mkdir()
    before = everything_in(out)
    (tmp_path / "file").write_text("")
    for against, run, kind in [
        (out, tmp_path / "reference" / ".." / "out", Kind.CONFLICT),
        (out, reference, Kind.CONFLICT),
        (tmp_path / "file", out, Kind.INACCESSIBLE),
    ]:
        with pytest.raises(UsageError) as caught:
            update(against, run)
        assert (caught.value.kind, caught.value.flag, caught.value.file) == (kind, "against", against)
    assert everything_in(out) == before


def test_a_reference_has_the_transfers_of_each_seed_in_its_records(reference, tmp_path):
    """However many seeds were run together."""
    out = write(tmp_path / "out", [each for seed in SEEDS for each in draws(seed)])
    source, other, target = cell(0, routing="em"), cell(1, routing="em"), cell(0, routing="uniform")
    for each, success in ((source, 0.25), (other, 0.75)):
        row = Row("transfer", "success rate", each.id, success, "fraction")
        Store(out).write_between("transfer:quick", each.id, target.id, Measurement([row], 1, PROVENANCE))
    update(reference, out)
    found = Store(reference).read(target.id)
    assert [(row.condition, row.value) for row in found.rows if row.measure == "transfer"] == [(source.id, 0.25)]
    assert not (reference / "between").exists()
    assert check(reference, out).select("changed") == []


def lose(made, measure, *rows):
    """The record without all rows of a measure, or some."""
    taken = made.measures[measure]
    kept = [row for row in taken.rows if rows and row not in rows]
    return replace(made, measures={**made.measures, measure: replace(taken, rows=kept)})


LATENCY = Row("speed", "latency p50", "inference", 5.0, "ms")


def timed(seed):
    return record(0.9 + seed / 100, seed, rows=[LATENCY])


@pytest.mark.parametrize(("measure", "rows"), [("affine", ()), ("speed", (LATENCY,))])
def test_update_refuses_a_run_that_lost_numbers_of_the_reference_and_changes_nothing(tmp_path, measure, rows):
    reference = write(tmp_path / "reference", map(timed, SEEDS))
    before = everything_in(reference)
    out = write(tmp_path / "out", [lose(timed(seed), measure, *rows) for seed in SEEDS])
    with pytest.raises(UsageError) as caught:
        update(reference, out)
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.MISSING, "out", out)
    assert everything_in(reference) == before
    assert update(tmp_path / "new", out)[0] == "5 records came"


@pytest.mark.parametrize("against", ["reference", "new"])
def test_update_refuses_a_run_of_which_one_seed_lost_a_measure(tmp_path, against):
    write(tmp_path / "reference", [record(0.9, seed, measure="accuracy") for seed in SEEDS])
    out = write(tmp_path / "out", [timed(0), lose(timed(1), "affine"), timed(2)])
    with pytest.raises(UsageError) as caught:
        update(tmp_path / against, out)
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.DAMAGED, "out", out)
    assert cell(1).title in caught.value.problem


def test_update_accepts_a_number_that_one_seed_does_not_have(tmp_path):
    out = write(tmp_path / "out", [timed(0), lose(timed(1), "speed", LATENCY), timed(2)])
    assert update(tmp_path / "new", out)[0] == "3 records came"


def test_update_names_measures_that_the_run_was_not_asked_for(tmp_path):
    reference = write(tmp_path / "reference", map(timed, SEEDS))

    def without_affine(made):
        measures = {spec: taken for spec, taken in made.measures.items() if spec != "affine"}
        return replace(made, measures=measures, wanted=[*measures])

    out = write(tmp_path / "out", [without_affine(timed(seed)) for seed in SEEDS])
    assert update(reference, out)[-1] == "no longer measured: affine"
    assert update(reference, out)[-1] == "5 records were written anew"
