"""The worked example of docs/own-measure.md: a user's own measure has a table, is in "who won", and is judged by the gate."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

import capsbench
from capsbench.comparing.checked import REGRESSION
from capsbench.comparing.update import update
from capsbench.records.record import Record
from capsbench.records.store import Store

DOCUMENT = Path(__file__).parents[2] / "docs" / "own-measure.md"
SPEC = "shifted:Shifted"
TITLE = "accuracy on shifted images"


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, one_process: Callable[[], AbstractContextManager[None]]
) -> Iterator[Path]:
    """Results of two routings that the measure was taken of. Its module is then removed: no reader needs it."""
    folder = tmp_path_factory.mktemp("own")
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    (folder / "shifted.py").write_text(code)
    with pytest.MonkeyPatch.context() as patch, one_process():
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        request = dict(routing=["em", "uniform"], iters=1, baseline="none", seeds=[0, 1, 2])
        budget = dict(train_size=200, epochs=3, batch_size=16)
        outcome = capsbench.run(**request, **budget, measure=["accuracy", SPEC], out="results")
        assert [record.reason for record in outcome.failed] == []
    sys.modules.pop("shifted", None)
    (folder / "shifted.py").unlink()
    return folder / "results"


@pytest.fixture(scope="module")
def reference(folder: Path) -> Path:
    against = folder.parent / "reference"
    update(against, folder)
    return against


def with_values(record: Record, value: float) -> Record:
    """The record with that value in the place of each of the measure's."""
    taken = record.measures[SPEC]
    rows = [row._replace(value=value) for row in taken.rows]
    return replace(record, measures={**record.measures, SPEC: replace(taken, rows=rows)})


def test_its_declarations_are_on_record_and_built_in_ones_are_not(folder: Path) -> None:
    records, faults = Store(folder).records()
    assert (len(records), faults) == (6, [])
    for record in records:
        declaration = record.measures[SPEC].declaration
        assert declaration is not None
        assert declaration.name == "shifted"
        assert [contest.title for _, contest in declaration.find_contests()] == [TITLE]
        assert record.measures["accuracy"].declaration is None


def test_its_table_and_its_contest_are_on_the_page(folder: Path, tmp_path: Path) -> None:
    report = capsbench.report(folder, formats=["html", "md", "csv"], to=tmp_path)
    sections = {made.section.name: made for made in report.sections}
    table = sections["own-shifted"].numbers
    rows = capsbench.load(folder)
    rows = rows[(rows["measure"] == "shifted") & (rows["condition"] == "1 pixel")]
    means = {routing: 100 * own["value"].mean() for routing, own in rows.groupby("routing")}
    assert sorted(table["accuracy, 1 pixel %"]) == pytest.approx(sorted(means.values()))
    assert list(table["n"]) == [3, 3]
    (line,) = sections["winners"].numbers.query("measured == @TITLE + ' %'").to_dict("records")
    assert line["value"] == pytest.approx(max(means.values()))
    assert line["behind_by"] == pytest.approx(max(means.values()) - min(means.values()))
    for page in ("index.html", "table.md"):
        text = (tmp_path / page).read_text()
        assert "Shifted test images" in text
        assert f"{TITLE} %" in text
    assert (tmp_path / "own-shifted.csv").is_file()


def test_a_report_removes_the_table_that_an_earlier_one_left_in_its_own_folder_alone(
    folder: Path, tmp_path: Path
) -> None:
    for target in (folder / "report", tmp_path):
        target.mkdir(exist_ok=True)
        (target / "own-notes.csv").write_text("")
    capsbench.report(folder, formats=["csv"])
    assert {path.name for path in (folder / "report").glob("own-*")} == {"own-shifted.csv"}
    capsbench.report(folder, formats=["csv"], to=tmp_path)
    assert {path.name for path in tmp_path.glob("own-*")} == {"own-shifted.csv", "own-notes.csv"}


def test_the_gate_passes_the_same_numbers(folder: Path, reference: Path) -> None:
    checked = capsbench.check(reference, folder)
    assert checked.exit_code == 0
    assert (checked.tests["name"] == TITLE).sum() == 3  # two contenders, and the mean over both


def test_the_gate_stops_numbers_that_are_worse(folder: Path, reference: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for record in Store(folder).records()[0]:
        store.write(with_values(record, 0.0))
    checked = capsbench.check(reference, tmp_path)
    assert checked.exit_code == 1
    assert {finding.name for finding in checked.select(REGRESSION)} == {TITLE}


def test_the_reference_decides_what_is_judged(folder: Path, reference: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for record in Store(folder).records()[0]:
        worse = with_values(record, 0.0)
        taken = replace(worse.measures[SPEC], declaration=None)
        store.write(replace(worse, measures={**worse.measures, SPEC: taken}))
    assert capsbench.check(reference, tmp_path).exit_code == 1


def test_without_declarations_it_has_a_table_alone(folder: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    for record in Store(folder).records()[0]:
        taken = replace(record.measures[SPEC], declaration=None)
        store.write(replace(record, measures={**record.measures, SPEC: taken}))
    report = capsbench.report(store.folder, formats=["csv"])
    sections = {made.section.name: made.numbers for made in report.sections}
    assert {"accuracy, 1 pixel %", "accuracy, 2 pixels %"} <= set(sections["own-shifted"])
    assert f"{TITLE} %" not in set(sections["winners"]["measured"])
    assert TITLE not in set(capsbench.check(store.folder, store.folder).tests["name"])


def test_of_two_measures_that_give_one_name_the_second_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_process: Callable[[], AbstractContextManager[None]]
) -> None:
    (tmp_path / "one_name.py").write_text(
        "from capsbench.measures import Measure, Row\n\nclass One(Measure):\n    def __call__(self, subject):\n"
        "        return [Row('mine', 'm', 'test', 1.0, 'u')]\n\nclass Two(One): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with one_process():
        request = dict(routing="uniform", baseline="none", seeds=[0], train_size=40, epochs=1)
        outcome = capsbench.run(**request, measure=["one_name:One", "one_name:Two"], out="results")
    sys.modules.pop("one_name", None)
    (failed,) = outcome.failed
    (record,), faults = Store(tmp_path / "results").records()
    assert faults == []
    assert record.cell.id == failed.cell.id
    assert (record.measured, [*record.failures]) == (["one_name:One"], ["one_name:Two"])
