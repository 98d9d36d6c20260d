"""Networks with parts of one's own, looked at and measured from another folder than their module's."""

import sys

import pytest

import capsbench
from capsbench import registry
from capsbench.errors import Kind, UsageError
from capsbench.records.store import Store
from capsbench.showing import show

OWN = """
from capsbench.routing import DynamicRouting

class Mine(DynamicRouting):
    pass
"""
pytestmark = pytest.mark.usefixtures("in_one_process")


@pytest.fixture
def leave(monkeypatch, tmp_path):
    """Goes to another folder, in a Python that has never seen the module."""

    def go():
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / "elsewhere")
        sys.path[:] = [folder for folder in sys.path if not folder.startswith(str(tmp_path))]
        for name in ("own_elsewhere", "package_elsewhere", "package_elsewhere.own"):
            sys.modules.pop(name, None)

    monkeypatch.setattr(sys, "path", list(sys.path))
    yield go
    go()


@pytest.fixture(params=["own_elsewhere", "package_elsewhere.own"])
def results(request, monkeypatch, tmp_path, leave):
    """A run of a routing of one's own, a module or one in a package, after which the folder was left."""
    work = tmp_path / "work"
    path = work.joinpath(*request.param.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True)
    path.write_text(OWN)
    monkeypatch.chdir(work)
    asked = {"routing": f"{request.param}:Mine", "iters": 1, "seeds": 0, "baseline": "none", "train_size": 20}
    capsbench.run(out=work / "results", **asked, epochs=1, measure="accuracy")
    leave()
    return work / "results"


def test_a_run_notes_where_it_found_modules_of_ones_own(results):
    (noted,) = Store(results).runs()
    assert noted.folders == [str(results.parent)]


def test_a_run_of_built_in_parts_notes_no_folder(tmp_path):
    capsbench.run(
        out=tmp_path / "r", routing="uniform", seeds=0, baseline="none", train_size=20, epochs=1, measure="none"
    )
    assert Store(tmp_path / "r").runs()[0].folders == []


def test_show_report_and_measure_work_from_another_folder(results):
    assert "rotation" in show(None, results, images=1, to=results / "pictures", allow_code=True).pictures
    assert len(capsbench.report(results, formats=["csv"], allow_code=True).summary) == 1
    assert len(capsbench.measure(results, measure="affine:quick", allow_code=True).finished) == 1


def test_another_module_of_that_name_is_told_from_it(results, tmp_path, monkeypatch):
    (record,) = Store(results).records()[0]
    module = record.cell.routing.partition(":")[0]
    path = (tmp_path / "elsewhere").joinpath(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(exist_ok=True)
    path.write_text(OWN.replace("pass", "other = True"))
    with pytest.raises(UsageError) as caught:
        show(None, results, allow_code=True)
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "CELL")


@pytest.mark.parametrize("name", ["nowhere_at_all:Mine", "nowhere_at_all.module:Mine"])
def test_a_module_that_is_nowhere_is_said_to_be_missing(leave, name):
    leave()
    registry.trust([name])
    with pytest.raises(UsageError) as caught:
        registry.get("routing", name)
    assert (caught.value.kind, caught.value.value) == (Kind.MISSING, name)
    assert "PYTHONPATH" in caught.value.expected
