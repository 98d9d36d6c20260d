"""The gate on networks and numbers that components of another version made, and on records and runs of another commit."""

from dataclasses import replace

import pytest

from capsbench.comparing import check, gate
from capsbench.records.store import Store
from tests.comparing.records import NETWORKS, SEEDS, draws, record, title, write


def with_version(made, measure, version):
    """The record with another version of one of its measures."""
    found = replace(made.measures[measure], version=version)
    return replace(made, measures={**made.measures, measure: found})


def trained_by(made, **versions):
    """The record of a network that components of these versions trained."""
    return replace(made, training=replace(made.training, versions=versions))


def test_numbers_of_another_version_of_a_measure_are_not_judged_and_are_named(reference, tmp_path):
    out = write(tmp_path / "out", [with_version(each, "affine", 2) for each in draws(9, area=0.1)])
    checked = check(reference, out)
    text = "affine of the reference is of another version: `capsbench check --update` makes a new reference"
    assert {each[:4] for each in checked.findings} == {
        ("not judged", contender, "affine", text) for contender in checked.contenders
    }
    assert len(checked.findings) == len(NETWORKS)
    assert checked.exit_code == 0
    assert set(checked.tests["name"]) == {"test accuracy", "time of a training step"}


def test_numbers_beside_those_of_another_version_are_judged(reference, tmp_path):
    """Of one network the affine curves are by another version; the accuracies and the curves of the others are judged."""
    made = draws(9, area=0.1, accuracy=0.5)
    em = next(each for each in made if each.cell.routing == "em")
    out = write(tmp_path / "out", [with_version(each, "affine", 2) if each is em else each for each in made])
    checked = check(reference, out)
    found = {(each.contender, each.name) for each in checked.select("regression")}
    others = {title(each) for each in made if each is not em}
    accuracies = {(each, "test accuracy") for each in (*others, title(em), "all contenders")}
    assert found == accuracies | {(each, "area under the affine curves") for each in (*others, "all contenders")}
    assert [(each.contender, each.name) for each in checked.select("not judged")] == [(title(em), "affine")]


def test_of_another_version_of_a_measure_no_bits_are_expected_and_of_the_rest_they_are(reference, tmp_path):
    out = write(tmp_path / "out", [with_version(each, "affine", 2) for each in draws(0, area=0.7001)])
    checked = check(reference, out)
    assert checked.select("changed") == []
    assert checked.identical == len(NETWORKS)
    changed = write(tmp_path / "changed", [with_version(each, "affine", 2) for each in draws(0, accuracy=0.9501)])
    text = "1 numbers of seed 0 are not those of this machine before (accuracy)"
    assert {each.text for each in check(reference, changed).select("changed")} == {text}


def test_a_network_that_another_version_of_a_component_trained_is_not_judged_and_the_rest_is(tmp_path):
    """Parameters, accuracy and times of EM are all worse; of uniform routing the accuracy is."""
    known = {"training": 1, "network": 1, "routing": 1}
    reference = write(tmp_path / "reference", [trained_by(each, **known) for seed in SEEDS for each in draws(seed)])
    dynamic, one, *_ = (trained_by(each, **known) for each in draws(9))
    em = trained_by(record(0.2, 9, routing="em", parameters=5, step=500.0), **{**known, "routing": 2, "network": 3})
    uniform = trained_by(record(0.5, 9, routing="uniform"), **known)
    checked = check(reference, write(tmp_path / "out", [dynamic, one, em, uniform]))
    text = "another version of network, routing trained the reference: `capsbench check --update` makes a new reference"
    assert [each[:4] for each in checked.select("not judged")] == [("not judged", title(em), "versions", text)]
    told = {(each.contender, each.name) for each in checked.select("regression")}
    assert told == {(title(uniform), "test accuracy"), ("all contenders", "test accuracy")}
    assert title(em) not in set(checked.tests["contender"])
    assert checked.exit_code == 1


def test_a_reference_that_does_not_know_the_versions_of_its_training_is_judged(reference, tmp_path):
    """Records of schema 1 do not."""
    out = write(tmp_path / "out", [trained_by(each, training=1, routing=1) for each in draws(9, accuracy=0.5)])
    checked = check(reference, out)
    assert checked.select("not judged") == []
    assert {each.name for each in checked.select("regression")} == {"test accuracy"}


def test_records_of_another_commit_are_noted(reference, tmp_path, monkeypatch):
    monkeypatch.setattr(gate, "provenance", lambda: {"commit": "b" * 40})
    out = write(tmp_path / "out", draws(9, provenance={"commit": "a" * 40}))
    (note,) = check(reference, out).notes
    assert note.startswith("4 of 4 records were made at another commit than bbbbbbbbbbbb")


@pytest.mark.parametrize("commit", [None, "b" * 40])
def test_nothing_is_noted_where_either_commit_is_not_known(reference, tmp_path, monkeypatch, commit):
    monkeypatch.setattr(gate, "provenance", lambda: {"commit": commit})
    out = write(tmp_path / "out", draws(9, provenance={"commit": None if commit else "a" * 40}))
    assert check(reference, out).notes == []


@pytest.mark.parametrize(("ran", "noted"), [("a" * 40, True), ("b" * 40, False), (None, False)])
def test_a_latest_run_of_another_commit_than_the_checkout_is_noted(reference, tmp_path, monkeypatch, ran, noted):
    monkeypatch.setattr(gate, "provenance", lambda: {"commit": "b" * 40})
    records = draws(9, provenance={"commit": ran})
    out = write(tmp_path / "out", records)
    Store(out).write_run([made.cell for made in records], "capsbench run", commit=ran)
    note = "the latest run was at commit aaaaaaaaaaaa; bbbbbbbbbbbb is checked out"
    assert check(reference, out).notes == ([note] if noted else [])
