"""Notes of runs: their sequence, those of several machines, and what of a run is on record."""

import json
import re
from dataclasses import asdict, replace

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.records.file import SCHEMA, seal_json
from capsbench.records.record import MOST_RUNS, Run
from capsbench.records.runs import (
    Notes,
    find_left_to_retrain,
    latest_run,
    read_notes,
    records_of,
    remove_flags,
    repeat_note,
    write_note,
)
from capsbench.records.store import Store
from tests.making import make_capsules, make_failed, make_record


@pytest.fixture
def cells():
    return [make_capsules(iterations=iterations) for iterations in (1, 2)]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def note_of(store, run):
    (path,) = (store.folder / "runs").glob(f"{run.name}-*.json")
    return path


def test_runs_are_listed_in_their_sequence_whatever_the_clock_says(store, cells):
    first = store.write_run(cells[:1], "capsbench run --iters 1")
    second = store.write_run(cells, "capsbench run")
    path = note_of(store, second)
    content = json.loads(path.read_text())
    del content["digest"]
    earlier = {**content, "name": "20200101T000000", "started": "2020-01-01T00:00:00+00:00"}
    path.with_name("20200101T000000.json").write_bytes(seal_json(earlier))
    path.unlink()
    assert [run.name for run in store.runs()] == [first.name, earlier["name"]]
    assert [run.sequence for run in store.runs()] == [1, 2]
    assert store.runs()[-1].cells == [cell.id for cell in cells]
    assert store.write_run(cells, "capsbench run").sequence == 3


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"name": "x"}', '{"name": "x", "started": "", "command": "", "cells": 5}']
)
def test_a_damaged_note_of_a_run_is_named_and_passed_over(store, cells, content):
    first = store.write_run(cells, "capsbench run")
    damaged = store.folder / "runs" / "0-damaged.json"
    damaged.write_text(content)
    runs, faults = store.read_notes()
    assert runs == store.runs() == [first]
    assert [*faults] == [damaged]
    assert str(damaged) in faults[damaged]


def test_a_changed_note_of_a_run_is_passed_over(store, cells):
    run = store.write_run(cells, "capsbench run")
    path = note_of(store, run)
    path.write_text(path.read_text().replace("capsbench run", "capsbench sun"))
    assert (store.runs(), [*store.read_notes().faults]) == ([], [path])


@pytest.mark.parametrize("number", [10**9, 2**63 - 1, 2**64, 10**30])
def test_a_number_that_no_run_has_is_not_counted_on_from(store, cells, number):
    path = note_of(store, store.write_run(cells, "capsbench run"))
    content = json.loads(path.read_text()) | {"sequence": number, "name": str(number)}
    del content["digest"]
    path.unlink()
    path = path.with_name(f"{number:06}-0123abcd.json")
    path.write_bytes(seal_json(content))
    assert [*store.read_notes().faults] == [path]
    second = store.write_run(cells, "capsbench run")
    assert (second.sequence, store.runs()) == (2, [second])


def test_after_the_highest_number_no_run_is_noted(store, cells):
    path = note_of(store, store.write_run(cells, "capsbench run"))
    content = json.loads(path.read_text()) | {"sequence": MOST_RUNS}
    del content["digest"]
    path.write_bytes(seal_json(content))
    with pytest.raises(UsageError) as caught:
        store.write_run(cells, "capsbench run")
    assert (caught.value.kind, caught.value.file, caught.value.value) == (Kind.DAMAGED, path.parent, MOST_RUNS)


def test_a_run_knows_its_suite_and_what_was_left_out_of_it(store, cells):
    store.write_run(cells, "capsbench run --suite mine", "mine", {"mnist": "no such file"})
    (run,) = store.runs()
    assert (run.suite, run.left_out) == ("mine", {"mnist": "no such file"})


def test_a_run_that_was_noted_before_there_were_suites_is_read(store, cells):
    run = store.write_run(cells, "capsbench run")
    path = note_of(store, run)
    content = json.loads(path.read_text())
    for later in ("suite", "left_out", "sequence", "anew", "commit", "digest"):
        del content[later]
    path.unlink()
    (path.parent / "20260101T000000.json").write_text(json.dumps({**content, "schema": 1}))
    (read,) = store.runs()
    assert (read.cells, read.suite, read.left_out, read.sequence) == (run.cells, None, {}, None)


def note(sequence, started="2026-01-01", **fields):
    fields = {"command": "capsbench run", "cells": ["a"], **fields}
    return Run(name=f"{sequence:06}", started=started, sequence=sequence, **fields)


def write_share(folder, token, **fields):
    content = seal_json({"schema": SCHEMA, **asdict(note(**fields))})
    (folder / f"{fields['sequence']:06}-0000000{token}.json").write_bytes(content)


def test_a_run_is_noted_with_all_that_it_was_asked(tmp_path, cells):
    (tmp_path / "b").mkdir()
    run = write_note(
        tmp_path,
        Notes([], {}),
        cells,
        "capsbench run",
        folders=[tmp_path / "b", tmp_path / "a"],
        anew=["x"],
        commit="c",
    )
    assert (run.name, run.sequence, run.command) == ("000001", 1, "capsbench run")
    assert run.cells == [cell.id for cell in cells]
    assert run.folders == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert (run.anew, run.commit, run.suite, run.left_out) == (["x"], "c", None, {})
    (path,) = tmp_path.glob("*.json")
    assert re.fullmatch("000001-[0-9a-f]{8}", path.stem)
    assert read_notes(tmp_path, lambda path, content: None) == Notes([run], {})


def test_the_next_number_is_above_all_notes_files_and_names(tmp_path, cells):
    assert write_note(tmp_path, Notes([note(7)], {}), cells, "").sequence == 8
    (tmp_path / "000011-0123abcd.json").write_text("damaged")
    assert write_note(tmp_path, Notes([], {}), cells, "").sequence == 12
    for old in range(12):
        (tmp_path / f"old{old}.json").write_text("")
    assert write_note(tmp_path, Notes([], {}), cells, "").sequence == 16  # there are 15 files


def test_notes_of_one_number_are_shares_of_one_run(tmp_path):
    write_share(
        tmp_path, 1, sequence=1, started="2026-01-03", cells=["a", "b"], command="one", commit="c", folders=["f"]
    )
    write_share(
        tmp_path,
        2,
        sequence=1,
        started="2026-01-02",
        cells=["b", "d"],
        command="two",
        commit="c",
        left_out={"x": "y"},
        anew=["d"],
    )
    write_share(tmp_path, 3, sequence=2, commit="c")
    runs, faults = read_notes(tmp_path, lambda path, content: None)
    assert faults == {}
    assert [run.sequence for run in runs] == [1, 2]
    assert runs[0] == note(
        1,
        "2026-01-02",
        cells=["a", "b", "d"],
        command="one; two",
        commit="c",
        folders=["f"],
        left_out={"x": "y"},
        anew=["d"],
    )
    write_share(tmp_path, 4, sequence=1, commit="d")
    assert read_notes(tmp_path, lambda path, content: None).runs[0].commit is None


COMMAND = "capsbench run --routing em"


@pytest.mark.parametrize(
    ("shares", "command", "shard"),
    [
        ([("--out a --shard 1/2", "1/2"), ("--shard=2/2 --out b", "2/2")], COMMAND, None),
        ([("--out c --shard 1/2", "1/2"), ("--out c --shard 2/2", "2/2")], f"{COMMAND} --out c", None),
        ([("--shard 1/2", "1/2"), ("--shard 1/2", "1/2")], f"{COMMAND} --shard 1/2", "1/2"),
        (
            [("--shard 1/3", "1/3"), ("--shard 3/3", "3/3")],
            f"{COMMAND} --shard 1/3; {COMMAND} --shard 3/3",
            "1/3, 3/3",
        ),
        ([("--shard 1/2", "1/2"), ("--shard 2/3", "2/3")], f"{COMMAND} --shard 1/2; {COMMAND} --shard 2/3", "1/2, 2/3"),
        ([("--shard 1/2", "1/2"), ("", None)], f"{COMMAND} --shard 1/2; {COMMAND}", None),
    ],
)
def test_all_parts_of_a_plan_are_one_run_with_the_command_of_the_whole(tmp_path, shares, command, shard):
    for token, (flags, part) in enumerate(shares):
        write_share(tmp_path, token, sequence=1, command=f"{COMMAND} {flags}".strip(), shard=part)
    (run,) = read_notes(tmp_path, lambda path, content: None).runs
    assert (run.command, run.shard) == (command, shard)


@pytest.mark.parametrize(
    ("command", "left"),
    [
        ("capsbench run --out 'my folder' --routing em", "capsbench run --routing em"),
        ("capsbench run --out=results --routing 'a b'", "capsbench run --routing 'a b'"),
        ("capsbench run --routing  em", "capsbench run --routing  em"),
        ("capsbench run 'unclosed --out a", "capsbench run 'unclosed --out a"),
        ("capsbench.run", "capsbench.run"),
    ],
)
def test_a_flag_is_removed_with_its_value(command, left):
    assert remove_flags(command, "out", "shard") == left


@pytest.mark.parametrize("stem", ["000002-0123abcd", "20260101T000000"])
def test_a_repeated_note_has_the_same_name_each_time_and_trains_nothing_anew(tmp_path, stem):
    run = note(2, anew=["a"], cells=["a", "b"])
    name, repeated = repeat_note(tmp_path / f"{stem}.json", run, 12)
    assert re.fullmatch(r"000012-[0-9a-f]{8}\.json", name)
    assert name == repeat_note(tmp_path / f"{stem}.json", run, 12)[0]
    assert repeated == replace(run, name="000012", sequence=12, anew=[])


def test_the_latest_run_has_the_highest_number():
    assert latest_run(Notes([], {}), "out") is None
    assert latest_run(Notes([note(1), note(3)], {}), "out") == note(3)


@pytest.mark.parametrize(("number", "refused"), [(2, False), (3, True), (4, True)])
def test_an_unreadable_note_that_may_be_of_the_latest_run_is_refused(tmp_path, number, refused):
    path = tmp_path / "out" / "runs" / f"{number:06}-0123abcd.json"
    notes = Notes([note(1), note(3)], {path: "cannot be read"})
    if not refused:
        assert latest_run(notes, "out") == note(3)
        return
    with pytest.raises(UsageError) as caught:
        latest_run(notes, "against")
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.DAMAGED, "against", tmp_path / "out")
    assert caught.value.value == path.name


def test_any_unreadable_note_may_be_the_latest_where_no_run_has_a_number(tmp_path):
    with pytest.raises(UsageError):
        latest_run(Notes([], {tmp_path / "old.json": "cannot be read"}), "out")


def test_the_records_of_runs_are_found_by_identity_or_alias(cells):
    one, other = make_record(cells[0]), make_record(cells[1], aliases=["old"])
    run = note(1, cells=[cells[0].id, "old", cells[1].id, "absent"])
    assert records_of([run], [other, one]) == ([one, other], ["absent"])
    runs = [note(1, cells=["old", "gone"]), note(2, cells=[cells[0].id, cells[1].id, "gone", "absent"])]
    assert records_of(runs, [one, other]) == ([other, one], ["gone", "absent"])
    assert records_of([], [one]) == ([], [])


@pytest.mark.parametrize(("trained_by", "left"), [(None, True), (1, True), (2, False), (3, False)])
def test_a_network_is_left_until_a_run_since_has_trained_it_again(cells, trained_by, left):
    made = make_record(cells[0])
    made = replace(made, training=replace(made.training, run=trained_by))
    runs = [note(2, anew=[cells[0].id]), note(3)]
    assert find_left_to_retrain(runs, [made, make_record(cells[1]), make_failed(cells[0])]) == ([made] if left else [])


def test_notes_without_a_number_are_older_than_those_with_one(tmp_path):
    write_share(tmp_path, 1, sequence=2)
    write_share(tmp_path, 1, sequence=1)
    content = {"schema": 1, **asdict(note(1)), "name": "20260101T000000", "sequence": None}
    (tmp_path / "20260101T000000.json").write_text(json.dumps(content))
    runs, _ = read_notes(tmp_path, lambda path, content: None)
    assert [run.name for run in runs] == ["20260101T000000", "000001", "000002"]
