"""A record and a published row, run again and compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import capsbench
from capsbench.errors import Kind, UsageError
from capsbench.records.record import Record
from capsbench.records.software.requirements import (
    find_requirements,
    parse_requirements,
    spell_recorded,
    write_requirements,
)
from capsbench.records.store import Store
from capsbench.reproducing import Reproduction, Verdict, plan_reproduction
from capsbench.reproducing.numbers import Agreement

SUITE = """
network = "matched"
routing = "uniform"
size = "tiny"
epochs = 1
train-size = 40
baseline = "none"
deviations = ["the length is not stated"]

[[published]]
table = "Table 1"
row = "wide"
metric = "accuracy"
value = 50
source = "a paper"
differs = "other images"
where = { routing = "uniform" }
"""


@pytest.fixture(scope="module")
def capsules(trained: Path) -> Record:
    """The record of the capsule network of the folder ``trained``."""
    return next(record for record in Store(trained / "results").records()[0] if record.cell.has_routing)


@pytest.fixture
def place(capsules: Record, tmp_path: Path) -> Store:
    """A folder with that record alone, which a test may change."""
    store = Store(tmp_path / "results")
    store.write(capsules)
    return store


@pytest.fixture(scope="module")
def again(trained: Path, capsules: Record, tmp_path_factory: pytest.TempPathFactory, one_process) -> Reproduction:
    with one_process():
        return capsbench.reproduce(
            trained / "results" / capsules.cell.id[:6], out=tmp_path_factory.mktemp("again") / "reproduced"
        )


def test_the_same_machine_gives_the_same_bits(again: Reproduction, capsules: Record) -> None:
    assert again.verdict is Verdict.SAME
    assert again.exit_code == 0
    assert again.same_weights is True
    assert again.other_epoch is None
    assert again.differences == []
    assert again.notes == []
    assert {number.agreement for number in again.numbers} == {Agreement.SAME, Agreement.TIME}
    assert len(again.numbers) == len(capsules.rows)


@pytest.mark.usefixtures("in_one_process")
def test_numbers_curve_weights_and_versions_that_differ_are_told(
    place: Store, capsules: Record, tmp_path: Path
) -> None:
    assert capsules.training is not None
    weights = replace(capsules.training.weights, sha256="0" * 64)
    history = [{**capsules.training.history[0], "loss": 9.0}]
    facts = {**capsules.provenance, "torch": "1.0"}
    training = replace(capsules.training, weights=weights, history=history, provenance=facts)
    taken = capsules.measures["accuracy"]
    rows = [row._replace(value=0.0) if row[1:3] == ("accuracy", "test") else row for row in taken.rows]
    place.write(replace(capsules, training=training, measures={"accuracy": replace(taken, rows=rows, kept=None)}))
    versions = write_requirements(place.folder, spell_recorded(facts))
    result = capsbench.reproduce(place.folder / capsules.cell.id, out=tmp_path / "out")
    assert (result.verdict, result.exit_code) == (Verdict.OTHER, 1)
    assert (result.same_weights, result.other_epoch, result.same_bits_expected) == (False, 1, False)
    assert [each.name for each in result.differences] == ["torch"]
    assert any(str(versions) in note for note in result.notes)
    outside = [number.title for number in result.numbers if number.agreement is Agreement.OUTSIDE]
    assert outside == ["accuracy accuracy test"]


@pytest.mark.usefixtures("in_one_process")
def test_where_the_code_alone_differs_its_commit_is_named(place: Store, capsules: Record, tmp_path: Path) -> None:
    assert capsules.training is not None
    history = [{**capsules.training.history[0], "loss": 9.0}]
    for dirty in (False, True):
        facts = {**capsules.provenance, "commit": "3" * 40, "dirty": dirty}
        place.write(replace(capsules, training=replace(capsules.training, history=history, provenance=facts)))
        result = capsbench.reproduce(place.folder / capsules.cell.id, out=tmp_path / "out")
        assert {"commit"} <= {each.name for each in result.differences} <= {"commit", "dirty"}
        # What code with uncommitted changes was cannot be found again.
        assert any("3" * 12 in note for note in result.notes) == (not dirty)


def test_a_run_leaves_the_versions_of_its_packages(trained: Path, capsules: Record) -> None:
    path = find_requirements(trained / "results", capsules.provenance)
    assert path is not None
    assert parse_requirements(path.read_text()).versions.keys() >= {"torch", "numpy", "scipy"}


def test_only_the_machine_of_a_record_may_be_another(place: Store, capsules: Record) -> None:
    named = place.folder / capsules.cell.id
    (job,) = plan_reproduction(named, out="elsewhere", threads=2).planned
    assert job.cell == capsules.cell.model_copy(update={"threads": 2})
    for name, value in {"lr": 0.1, "seeds": 1, "squash": "unit", "baseline": "none"}.items():
        with pytest.raises(UsageError) as caught:
            plan_reproduction(named, out="elsewhere", **{name: value})
        assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, name)


def test_some_of_the_measures_can_be_chosen(place: Store, capsules: Record) -> None:
    named = place.folder / capsules.cell.id
    (job,) = plan_reproduction(named, out="elsewhere", measure="accuracy").planned
    assert job.measures == ("accuracy",)
    with pytest.raises(UsageError) as caught:
        plan_reproduction(named, out="elsewhere", measure="affine")
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "measure")


@pytest.mark.parametrize(
    ("update", "kind", "part"),
    [
        ({"options": {"routing.charm": 1.0}}, Kind.CONFLICT, "routing.charm"),
        ({"network": "mine:Network"}, Kind.UNTRUSTED, "mine:Network"),
        ({"routing": "telepathy"}, Kind.UNKNOWN, "telepathy"),
    ],
)
def test_a_cell_that_this_version_cannot_make_is_refused(
    update: dict, kind: Kind, part: str, place: Store, capsules: Record
) -> None:
    cell = capsules.cell.model_copy(update=update)
    place.write(replace(capsules, cell=cell, aliases=[]))
    with pytest.raises(UsageError) as caught:
        plan_reproduction(place.folder / cell.id, out="elsewhere")
    assert caught.value.kind is kind
    assert part in str(caught.value)


def test_labels_that_changed_are_refused(place: Store, capsules: Record) -> None:
    assert capsules.training is not None
    sources = {"data": {**capsules.training.sources["data"], "train labels": "0" * 16}}
    place.write(replace(capsules, training=replace(capsules.training, sources=sources)))
    with pytest.raises(UsageError) as caught:
        plan_reproduction(place.folder / capsules.cell.id, out="elsewhere")
    assert caught.value.kind is Kind.CONFLICT
    assert "train labels" in str(caught.value)


def test_the_folder_of_the_record_is_refused(place: Store, capsules: Record) -> None:
    with pytest.raises(UsageError) as caught:
        plan_reproduction(place.folder / capsules.cell.id, out=place.folder)
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "out")


@pytest.mark.usefixtures("in_one_process")
def test_a_published_row_is_run_and_held_against_the_paper(tmp_path: Path) -> None:
    suite = tmp_path / "mine.toml"
    suite.write_text(SUITE.replace('network = "matched"\n', "").replace('differs = "other images"\n', ""))
    result = capsbench.reproduce(f"{suite}:wide", out=tmp_path / "out", seeds=0)
    (compared,) = result.published
    assert len(compared.values) == 1
    assert compared.verdict in ("inside (images)", "outside (images)")
    assert result.exit_code == (0 if compared.verdict.startswith("inside") else 1)
    assert result.notes == ["the length is not stated"]
    other = capsbench.reproduce(f"{suite}:1", out=tmp_path / "out", seeds=0, train_size=30)
    assert other.published[0].verdict == "not comparable (train-size 30)"
    assert (other.verdict, other.exit_code) == (Verdict.OTHER, 1)


def test_a_row_that_nothing_measures_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        plan_reproduction("sabour2017:13")
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "ROW")
