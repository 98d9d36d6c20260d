"""What `check` judges is the latest run of a folder, whatever else is on record there and whatever the clock says."""

import json
from dataclasses import replace

import pytest

from capsbench.comparing import check, gate
from capsbench.comparing.update import update
from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.records.file import seal_json
from capsbench.records.record import TRAINING, Failure, Record
from capsbench.records.store import Store
from tests.comparing.records import record, write

SCORES = {0: 0.95, 1: 0.96, 2: 0.94, 3: 0.95, 4: 0.955}


def of(source, accuracy=0.95, seed=0, run=1, commit=None):
    """A record of a user's own routing with that source, trained by that run."""
    made = record(accuracy, seed, provenance={"commit": commit})
    cell = type(made.cell)(**{**made.cell.model_dump(), "code": {"routing": source}})
    return replace(made, cell=cell, training=replace(made.training, run=run))


def failing(made, run, reason="it raised"):
    """A record whose network was trained anew by a run, and that failed."""
    return replace(made, failures={TRAINING: Failure(reason, run=run)})


@pytest.fixture
def reference(tmp_path):
    return write(tmp_path / "reference", [of("aa", score, seed) for seed, score in SCORES.items()])


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def note(out, *records, **facts):
    """Notes a run of the cells of these records."""
    return Store(out).write_run([each.cell for each in records], "capsbench run", **facts)


def found_in(checked):
    return [(each.kind, each.name) for each in checked.findings]


def test_a_cell_that_failed_in_the_latest_run_is_not_passed_by_its_older_record(reference, out):
    old = of("aa")
    note(out, old)
    assert check(reference, write(out, [old])).exit_code == 0
    note(out, old, anew=[old.cell.id])
    checked = check(reference, write(out, [failing(old, run=2)]))
    assert (checked.exit_code, found_in(checked)) == (3, [("failed", "training")])
    assert checked.findings[0].text.endswith("it raised")
    assert len(checked.tests) == checked.identical == 0


def test_a_seed_that_failed_is_not_passed_by_the_others(reference, out):
    one, other = of("aa", seed=0), of("aa", seed=1)
    note(out, one, other)
    checked = check(reference, write(out, [one, failing(other, run=1)]))
    assert (checked.exit_code, found_in(checked)) == (3, [("failed", "training")])
    assert len(checked.tests) > 0  # of the other


def test_a_failed_contender_that_the_reference_does_not_have_is_not_passed(reference, out):
    known, new = of("aa"), record(0.9, routing="em")
    note(out, known, new)
    checked = check(reference, write(out, [known, Record(new.cell, failures={TRAINING: Failure("it raised", run=1)})]))
    assert (checked.exit_code, found_in(checked)) == (3, [("failed", "training")])


def test_what_a_fresh_run_has_not_trained_anew_yet_is_missing(reference, out):
    one, other = of("aa", seed=0, run=2), of("aa", seed=1, run=1)
    note(out, one, other)
    note(out, one, other, anew=[one.cell.id, other.cell.id])
    checked = check(reference, write(out, [one, other]))
    assert (checked.exit_code, found_in(checked)) == (3, [("missing", "records")])
    assert checked.findings[0].text.startswith(other.cell.title.partition(",")[0])
    with pytest.raises(UsageError) as caught:
        update(reference, out)
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.MISSING, "out", out)


def test_a_fresh_run_that_has_trained_nothing_yet_has_measured_nothing(reference, out):
    old = of("aa")
    note(out, old)
    note(out, old, anew=[old.cell.id])
    with pytest.raises(NothingMeasured):
        check(reference, write(out, [old]))


def test_cells_of_the_latest_run_without_a_record_are_missing(reference, out):
    one, other = of("aa", seed=0), of("aa", seed=1)
    note(out, one, other)
    checked = check(reference, write(out, [one]))
    assert (checked.exit_code, found_in(checked)) == (3, [("missing", "records")])
    assert other.cell.id in checked.findings[0].text


def test_contenders_of_the_reference_that_only_an_earlier_run_had_are_missing(tmp_path, out):
    both = [record(0.95, seed, routing=name) for seed in SCORES for name in ("dynamic", "em")]
    reference = write(tmp_path / "reference", both)
    dynamic, em = (record(0.95, routing=name) for name in ("dynamic", "em"))
    note(out, dynamic, em)
    note(out, dynamic)
    checked = check(reference, write(out, [dynamic, em]))
    assert (checked.exit_code, found_in(checked)) == (3, [("missing", "records")])
    assert checked.notes == ["1 records of cells that the latest run was not asked for are passed over"]


@pytest.mark.parametrize("judged", ["good", "bad"])
def test_the_source_that_is_judged_is_that_of_the_latest_run_even_where_it_was_on_record(reference, out, judged):
    """One runs bad, good, and goes back to bad: all is on record, and bad is what one has."""
    sides = {"good": of("aa", 0.95), "bad": of("bb", 0.5)}
    other = next(side for side in sides if side != judged)
    write(out, sides.values())
    for ran in (judged, other, judged):
        note(out, sides[ran])
    assert check(reference, out).exit_code == (1 if judged == "bad" else 0)


def test_a_clock_that_is_set_back_changes_nothing(reference, out):
    good, bad = of("aa", 0.95), of("bb", 0.5)
    write(out, [good, bad])
    note(out, good)
    note(out, bad)
    (path,) = (out / "runs").glob("000002-*.json")
    content = json.loads(path.read_text())
    del content["digest"]
    path.write_bytes(seal_json({**content, "started": "2001-01-01T00:00:00+00:00"}))
    assert check(reference, out).exit_code == 1


@pytest.mark.parametrize(("run", "exit_code"), [(1, 0), (3, 1)])
def test_without_notes_the_source_of_the_highest_number_of_a_run_is_judged(reference, out, run, exit_code):
    checked = check(reference, write(out, [of("aa", 0.95, run=2), of("bb", 0.5, run=run)]))
    assert checked.exit_code == exit_code
    failed = failing(of("bb", 0.5, run=run), run=4)
    assert found_in(check(reference, write(out, [failed]))) == [("failed", "training")]


def test_without_any_number_of_a_run_no_source_is_the_latest(reference, out):
    good, bad = of("aa", 0.95, run=None), of("bb", 0.5, run=None)
    with pytest.raises(UsageError) as caught:
        check(reference, write(out, [good, bad]))
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.AMBIGUOUS, "out", out)


def test_shares_of_several_machines_are_one_run(reference, tmp_path, out):
    """Each made its seed in a folder of its own, and all is copied into one."""
    shares = [of("aa", SCORES[seed] - 0.3, seed) for seed in (0, 1)]
    for place, share in enumerate(shares):
        folder = write(tmp_path / str(place), [share])
        note(folder, share)
        for path in folder.rglob("*.json"):
            (out / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (out / path.relative_to(folder)).write_bytes(path.read_bytes())
    (run,) = Store(out).runs()
    assert sorted(run.cells) == sorted(share.cell.id for share in shares)
    checked = check(reference, out)
    assert checked.exit_code == 1
    assert "2 seeds" not in str(checked.notes)
    (out / "records" / f"{shares[0].cell.id}.json").unlink()
    assert ("missing", "records") in found_in(check(reference, out))


@pytest.mark.parametrize("name", ["000002-00000000", "20990101T000000.000000"])
def test_a_damaged_note_that_may_be_of_the_latest_run_is_refused(reference, out, name):
    """Rather than judge the run before it. A note whose name is a time is of before the numbers."""
    good = of("aa")
    note(write(out, [good]), good)
    path = out / "runs" / f"{name}.json"
    path.write_text("{")
    if name.startswith("2099"):
        assert check(reference, out).exit_code == 0
        return
    with pytest.raises(UsageError) as caught:
        check(reference, out)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.DAMAGED, "out", path.name)
    note(out, good)
    assert check(reference, out).exit_code == 0


def test_records_of_another_commit_than_that_of_the_latest_run_are_noted(reference, out, monkeypatch):
    monkeypatch.setattr(gate, "provenance", lambda: {"commit": "b" * 40})
    made = of("aa", commit="a" * 40)
    note(write(out, [made]), made, commit="b" * 40)
    (line,) = check(reference, out).notes
    assert line.startswith("1 of 1 records were made at another commit than bbbbbbbbbbbb, that of the latest run")
    note(out, made, commit="a" * 40)
    (line,) = check(reference, out).notes
    assert line == "the latest run was at commit aaaaaaaaaaaa; bbbbbbbbbbbb is checked out"


def test_a_reference_is_not_made_of_a_network_whose_latest_training_failed(tmp_path, reference, out):
    records = [of("aa", score, seed) for seed, score in SCORES.items()]
    write(out, [*records[1:], failing(records[0], run=2)])
    with pytest.raises(UsageError) as caught:
        update(reference, out)
    assert (caught.value.kind, caught.value.flag) == (Kind.DAMAGED, "out")


def test_a_reference_is_not_made_of_old_numbers_of_a_measure_that_failed_since(reference, out):
    records = [of("aa", score, seed) for seed, score in SCORES.items()]
    stale = replace(records[0], failures={"affine": Failure("it raised", run=2)})
    with pytest.raises(UsageError) as caught:
        update(reference, write(out, [stale, *records[1:]]))
    assert (caught.value.kind, caught.value.flag) == (Kind.DAMAGED, "out")


def test_a_reference_with_a_record_of_a_newer_schema_is_not_replaced(reference, out):
    write(out, [of("aa", score, seed) for seed, score in SCORES.items()])
    newer = reference / "records" / "000000000000.json"
    newer.write_bytes(seal_json({"schema": 99, "all": "new"}))
    before = {path: path.read_bytes() for path in reference.rglob("*.json")}
    with pytest.raises(UsageError) as caught:
        update(reference, out)
    assert (caught.value.file, caught.value.value) == (newer, 99)
    assert {path: path.read_bytes() for path in reference.rglob("*.json")} == before
