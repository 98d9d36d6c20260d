"""The scripts of `.ci`: a fault breaks a line that is there, beside tests that are there; a loss is one in all that is judged."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import pytest

from capsbench.comparing.judged import list_judged
from capsbench.measures.spec import built_in_specs
from capsbench.planning.request import listed
from capsbench.planning.suites import read_suite
from capsbench.records.record import Row
from tests.comparing.records import record

CHECKOUT = Path(__file__).parent.parent


def script(name):
    """A script of `.ci`, which has no suffix, as a module."""
    path = str(CHECKOUT / ".ci" / name)
    spec = importlib.util.spec_from_loader(name, importlib.machinery.SourceFileLoader(name, path))
    module = importlib.util.module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module


faults, alarms = script("faults"), script("alarms")


@pytest.mark.parametrize("fault", faults.FAULTS, ids=lambda fault: fault.name)
def test_a_fault_breaks_one_line_and_has_tests(fault):
    for edit in fault.edits:
        assert (CHECKOUT / edit.file).read_text().count(edit.old) == 1, f"{edit.file}: {edit.old}"
        assert edit.old != edit.new
    for test in fault.tests:
        assert (CHECKOUT / test).exists()


def test_the_networks_that_faults_touch_are_in_the_suite():
    routings = {routing for matrix in read_suite("ci").matrices for routing in listed(matrix.get("routing", []))}
    assert {routing for fault in faults.FAULTS for routing in fault.routings} <= routings


def test_the_table_of_the_document_has_every_fault():
    text = (CHECKOUT / "docs" / "ci.md").read_text()
    assert [fault.name for fault in faults.FAULTS if f"| {fault.name} |" not in text] == []


def test_a_fault_is_planted_and_taken_out_again(tmp_path):
    path = tmp_path / "code.py"
    path.write_text("a = 1\nb = 2\n")
    fault = faults.Fault("b", [faults.Edit("code.py", "b = 2", "b = 3")], [], [])
    with faults.broken(tmp_path, fault):
        assert path.read_text() == "a = 1\nb = 3\n"
    assert path.read_text() == "a = 1\nb = 2\n"
    absent = fault._replace(edits=[faults.Edit("code.py", "c = 3", "")])
    with pytest.raises(SystemExit) as caught, faults.broken(tmp_path, absent):
        pass
    assert "c = 3" in str(caught.value)


def test_a_loss_of_ten_points_is_one_of_each_judged_number():
    numbers = list_judged(built_in_specs(), "mean")
    rows = [Row(each.measure, each.metric.name, (each.judged.conditions or ("all",))[0], 0.5, "") for each in numbers]
    before = record(0.9, rows=rows)
    after = alarms.worse(before, 10)
    for number in numbers:
        old, new = (number.average([*number.find_rows(each, {}).values()]) for each in (before, after))
        assert (old - new) * (1 if number.metric.higher_is_better else -1) == pytest.approx(0.1), number.title
    assert before.rows[0] == after.rows[0]  # parameters


def test_seeds_that_have_all_contenders_are_split():
    found = alarms.records_by_seed([alarms.REFERENCE])
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert len({len(records) for records in found.values()}) == 1


def test_the_language_of_the_source_is_counted(tmp_path):
    language = script("language")
    for package in (*language.PACKAGES, *language.COMMENTED):
        (tmp_path / package).mkdir(parents=True, exist_ok=True)
    (tmp_path / "capsbench" / "training" / "loop.py").write_text(
        '''"""What is trained."""
def train(cell):  # why
    """Trains a cell."""
    each = cell
    for made, epoch in each:
        yield made
class Loop:
    def _run_epoch(self): ...
    def __len__(self): return 0
    @property
    def size(self): return 0
'''
    )
    counts = [(share.total, len(share.places)) for share in language.measure_language(tmp_path)]
    assert counts == [(2, 1), (3, 2), (2, 1), (11, 1)]
