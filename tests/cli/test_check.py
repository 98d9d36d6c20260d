"""The gate from the shell."""

import json

import pytest

ROUTING = """
from pathlib import Path

from capsbench.routing.uniform import UniformRouting

class Moody(UniformRouting):
    def forward(self, *arguments, **options):
        if Path("broken").exists():
            raise RuntimeError("it raised")
        return super().forward(*arguments, **options)
"""
RUN = [
    "run",
    "--routing",
    "moodily:Moody",
    "--train-size",
    "60",
    "--epochs",
    "1",
    "--measure",
    "accuracy",
    "--baseline",
    "none",
]


@pytest.mark.usefixtures("in_one_process")
def test_a_run_that_crashed_is_not_passed_by_the_records_of_before(capsbench, tmp_path):
    (tmp_path / "moodily.py").write_text(ROUTING)
    update = ["check", "--update", "--against", "reference", "--out", "now"]
    check = ["check", "--against", "reference", "--out", "now", "--json"]
    for arguments in ([*RUN, "--seeds", "0,1,2", "--out", "now"], update, check):
        assert capsbench(*arguments, cwd=tmp_path).returncode == 0
    (tmp_path / "broken").touch()
    run = capsbench(*RUN, "--seeds", "0", "--out", "now", "--fresh", cwd=tmp_path)
    assert run.returncode == 3
    assert "0 of 1 cells on record in now, 1 failed (1 with numbers of before" in run.stdout + run.stderr
    checked = capsbench(*check, cwd=tmp_path)
    assert checked.returncode == 3
    assert [finding["kind"] for finding in json.loads(checked.stdout)["findings"]] == ["failed"]
    plan = capsbench(*RUN, "--seeds", "0", "--out", "now", "--dry-run", "--json", cwd=tmp_path)
    assert [cell["on_record"] for cell in json.loads(plan.stdout)["cells"]] == [False]
    (tmp_path / "broken").unlink()
    for arguments in ([*RUN, "--seeds", "0", "--out", "now"], check):
        assert capsbench(*arguments, cwd=tmp_path).returncode == 0
