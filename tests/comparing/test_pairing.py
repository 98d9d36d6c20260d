"""Contenders that both sides have, and those that can be compared."""

from dataclasses import replace

from capsbench.comparing.pairing import Pairing
from capsbench.comparing.side import read_side, to_experiment
from tests.comparing.records import cell, record, write


def pair(tmp_path, before, now):
    return Pairing(*(read_side(write(tmp_path / name, of), name) for name, of in (("a", before), ("b", now))))


def with_versions(made, **versions):
    return replace(made, training=replace(made.training, versions=versions))


def test_contenders_of_both_sides_are_paired(tmp_path):
    pairing = pair(tmp_path, [record(0.9), record(0.9, routing="em")], [record(0.8, 1), record(0.9, routing="uniform")])
    ((title, before, now),) = pairing.all
    assert title == "capsnet dynamic x3 tiny, digits"
    assert ([*before.records], [*now.records]) == ([0], [1])
    assert pairing.comparable == pairing.all
    assert pairing.datasets == {"digits"}
    assert {*pairing.sources} == {
        made.id for made in (cell(), cell(0, routing="em"), cell(1), cell(0, routing="uniform"))
    }
    assert pairing.cells[cell(1).id] == "capsnet dynamic x3 tiny, digits, seed 1"


def test_a_contender_that_another_version_trained_cannot_be_compared(tmp_path):
    before, now = with_versions(record(0.9), loss=1), with_versions(record(0.9), loss=2)
    pairing = pair(tmp_path, [before], [now])
    assert len(pairing.all) == 1
    assert pairing.comparable == []


def test_measures_of_another_version_are_left_out_on_both_sides(tmp_path):
    before = record(0.9)
    speed = replace(before.measures["speed"], version=before.measures["speed"].version + 1)
    now = replace(before, measures={**before.measures, "speed": speed})
    ((_, *sides),) = pair(tmp_path, [before], [now]).comparable
    for side in sides:
        assert "speed" not in side.records[0].measures
        assert "accuracy" in side.records[0].measures


def test_times_are_no_numbers_that_repeat(tmp_path):
    unrepeatable = pair(tmp_path, [record(0.9)], [record(0.9)]).unrepeatable
    assert ("speed", "latency p50") in unrepeatable
    assert ("training", "duration") in unrepeatable
    assert ("accuracy", "accuracy") not in unrepeatable


def test_the_sources_that_the_run_has_not_with_a_seed_are_absent(tmp_path):
    uniform = record(0.9, 1, routing="uniform")
    pairing = pair(tmp_path, [record(0.9), record(0.9, routing="em")], [record(0.8), uniform])
    dynamic, em, other = (to_experiment(made) for made in (cell(), cell(0, routing="em"), uniform.cell))
    assert pairing.absent_sources(0) == {em, other}
    assert pairing.absent_sources(1) == {dynamic, em}
    assert pairing.absent_sources(2) == {dynamic, em, other}
