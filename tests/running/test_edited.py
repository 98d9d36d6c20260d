"""A user's own part that is edited makes other networks, and a run says which, since which edit, and how to keep the old."""

import sys

import pytest

import capsbench
from capsbench.errors import TrainingFailed
from capsbench.planning.edits import find_edits
from capsbench.planning.matrix import plan_cells
from capsbench.records.parts import Parts
from capsbench.records.store import Store
from capsbench.running.cell_job import prepare_process
from capsbench.running.on_record import Edited, find_edited, find_records

ROUTING = """
from helper import scale
from capsbench.routing import DynamicRouting

class Mine(DynamicRouting):
    scale = scale
"""
MEASURE = """
from capsbench.measures.base import Measure
from capsbench.records.record import Row

class Count(Measure):
    settings = ("default",)
    @classmethod
    def applies_to(cls, cell):
        return True
    def __call__(self, subject):
        return [Row("count", "ones", "all", 1.0, "ones")]
"""
ASKED = {
    "routing": "mine_here:Mine", "measure": "count_here:Count", "iters": 1, "seeds": [0, 1], "baseline": "none",
    "train_size": 20, "epochs": 1,
}  # fmt: skip


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with a routing, a module that it imports, and a measure."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    for name, text in (("mine_here", ROUTING), ("helper", "scale = 1\n"), ("count_here", MEASURE)):
        (tmp_path / f"{name}.py").write_text(text)
    yield tmp_path
    for name in ("mine_here", "helper", "count_here"):
        sys.modules.pop(name, None)


def found(work):
    planned, store = plan_cells(ASKED), Store(work / "results")
    return find_edited(planned, store, find_records(planned, store))


@pytest.mark.usefixtures("in_one_process")
def test_a_run_says_what_was_edited_and_trains_it_anew_and_the_edit_undone_is_on_record(work):
    first = capsbench.run(out=work / "results", **ASKED)
    assert len(first.finished) == 2
    assert found(work) == []
    (work / "mine_here.py").write_text(ROUTING + "\n\nclass Unrelated:\n    pass  # and a remark\n")
    assert capsbench.run(out=work / "results", **ASKED).on_record == first.finished

    (work / "helper.py").write_text("scale = 2\n")
    assert found(work) == [Edited("routing mine_here:Mine", ("helper",), 2)]
    plan = capsbench.api.plan(**ASKED)
    assert not {each.cell.id for each in plan.cells} & {*first.finished}
    second = capsbench.run(out=work / "results", **ASKED)
    assert len(second.finished) == 2
    assert found(work) == []

    (work / "helper.py").write_text("scale = 1\n")
    assert sorted(capsbench.run(out=work / "results", **ASKED).on_record) == sorted(first.finished)


@pytest.mark.usefixtures("in_one_process")
def test_a_record_tells_its_sources_and_what_is_edited_since(work):
    (cell_id, _) = capsbench.run(out=work / "results", **ASKED).finished
    record = Store(work / "results").read(cell_id)
    sources = Parts.from_cell(record.cell).digest_modules()
    assert sources.keys() == {"routing"}
    assert record.training.sources == {**sources, "data": record.training.sources["data"]}
    assert record.training.sources["routing"].keys() == {"mine_here", "helper"}
    assert find_edits(record.cell, record.training.sources) == {}
    (work / "mine_here.py").write_text(ROUTING.replace("scale = scale", "scale = 2 * scale"))
    assert find_edits(record.cell, record.training.sources) == {"routing mine_here:Mine": ["mine_here"]}
    assert find_edits(record.cell, {}) == {"routing mine_here:Mine": []}


@pytest.mark.usefixtures("in_one_process")
def test_an_edited_measure_is_named_and_taken_anew(work):
    first = capsbench.run(out=work / "results", **ASKED)
    (work / "count_here.py").write_text(MEASURE.replace("1.0", "2.0"))
    assert found(work) == [Edited("measure count_here:Count", (), 2)]
    assert sorted(capsbench.run(out=work / "results", **ASKED).finished) == sorted(first.finished)
    assert set(capsbench.load(work / "results").query("measure == 'count'")["value"]) == {2.0}


def test_an_edit_during_a_run_ends_its_cells(work):
    planned = plan_cells(ASKED)[0]
    (work / "helper.py").write_text("scale = 3\n")
    with pytest.raises(TrainingFailed):
        prepare_process(planned, work)


def test_a_dry_run_says_it_too(work, capsbench, in_one_process):
    flags = ["--routing", "mine_here:Mine", "--iters", "1", "--seeds", "0", "--baseline", "none", "--train-size", "20"]
    flags += ["--epochs", "1", "--measure", "none"]
    assert capsbench("run", *flags, cwd=work).returncode == 0
    (work / "helper.py").write_text("scale = 2\n")
    assert "helper" in capsbench("run", *flags, "--dry-run", cwd=work).stdout
