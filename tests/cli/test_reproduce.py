"""`capsbench reproduce`: exit codes, and what it prints for people and programs."""

from __future__ import annotations

import json
import shutil

import pytest

from capsbench.records.store import Store


@pytest.mark.parametrize(
    ("row", "start"),
    [
        ("sabour2017:99", "capsbench: ROW: expected a number from 1 to 15"),
        ("sabour2017:routing", "capsbench: ROW sabour2017:routing: "),
        ("sabour:5", "capsbench: ROW sabour:5: "),
        ("nowhere/1f0c", "capsbench: ROW "),
    ],
)
def test_a_wrong_name_is_refused_in_a_line(row, start, capsbench, tmp_path):
    for dry in ((), ("--dry-run",)):
        answer = capsbench("reproduce", row, *dry, cwd=tmp_path)
        assert answer.returncode == 2
        assert answer.stderr.startswith(start)
        assert answer.stderr.count("\n") == 1
    assert not (tmp_path / "reproduced").exists()


def test_an_argument_of_the_python_function_is_no_flag(capsbench, tmp_path):
    answer = capsbench("reproduce", "sabour2017:5", "--console", "x", cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.startswith("capsbench: --console: unknown")
    assert answer.stderr.count("\n") == 1


@pytest.mark.usefixtures("in_one_process")
def test_a_record_is_reproduced_and_compared_from_record(capsbench, trained, tmp_path):
    records, _ = Store(trained / "results").records()
    shutil.copytree(trained / "results", tmp_path / "results")
    cell = next(record.cell.id for record in records if record.cell.has_routing)
    answer = capsbench("reproduce", cell[:7], "--json", cwd=tmp_path)
    facts = json.loads(answer.stdout)
    assert (answer.returncode, facts["verdict"], facts["out"]) == (0, "the same bits", "reproduced")
    assert facts["outcome"]["finished"] == [cell]
    answer = capsbench("reproduce", cell[:7], cwd=tmp_path)
    assert answer.returncode == 0
    assert answer.stdout.splitlines()[-1] == f"results/{cell}: the same bits"


SUITE = """
routing = ["uniform", "dynamic"]
baseline = "none"
train-size = 40

[[published]]
table = "Table 1"
row = "dynamic routing"
metric = "error"
value = 1.0
source = "a paper"
where = { routing = "dynamic" }
"""


@pytest.mark.usefixtures("in_one_process")
def test_a_dry_run_plans_the_cells_of_a_row(capsbench, tmp_path):
    (tmp_path / "mine.toml").write_text(SUITE)
    command = ("reproduce", "mine.toml:1", "--seeds", "0,1", "--epochs", "1", "--dry-run")
    plan = json.loads(capsbench(*command, "--json", cwd=tmp_path).stdout)
    assert [(cell["routing"], cell["seed"], cell["epochs"]) for cell in plan["cells"]] == [
        ("dynamic", 0, 1),
        ("dynamic", 1, 1),
    ]
    assert plan["seconds"] > 0
    assert "2 cells, 2 to run" in capsbench(*command, cwd=tmp_path).stdout
    assert not (tmp_path / "reproduced").exists()


def test_flags_that_leave_no_cell_of_a_row_are_refused(capsbench, tmp_path):
    (tmp_path / "mine.toml").write_text(SUITE)
    answer = capsbench("reproduce", "mine.toml:1", "--routing", "uniform", cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.startswith("capsbench: ROW mine.toml:1")
    assert capsbench("reproduce", "mine.toml:1", "--epoch", "1", cwd=tmp_path).returncode == 2
