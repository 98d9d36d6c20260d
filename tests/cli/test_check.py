"""The gate from the shell."""

import json
import shutil

import pytest

from tests.comparing.records import record, write

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
    assert "0 of 1 cells on record in now, 1 failed (1 keep earlier numbers" in run.stdout + run.stderr
    checked = capsbench(*check, cwd=tmp_path)
    assert checked.returncode == 3
    assert [finding["kind"] for finding in json.loads(checked.stdout)["findings"]] == ["failed"]
    plan = capsbench(*RUN, "--seeds", "0", "--out", "now", "--dry-run", "--json", cwd=tmp_path)
    assert [cell["on_record"] for cell in json.loads(plan.stdout)["cells"]] == [False]
    (tmp_path / "broken").unlink()
    for arguments in ([*RUN, "--seeds", "0", "--out", "now"], check):
        assert capsbench(*arguments, cwd=tmp_path).returncode == 0


def test_an_update_by_a_run_of_other_networks_says_that_the_reference_stays_and_how_to_replace_it(capsbench, tmp_path):
    def put(folder, routing):
        return write(tmp_path / folder, [record(0.9 + seed / 100, seed, routing=routing) for seed in range(3)])

    reference = put("reference", "em")
    put("out", "dynamic")
    before = sorted(path.name for path in (reference / "records").iterdir())
    update = ["check", "--update", "--against", "reference", "--out", "out"]
    refused = capsbench(*update, cwd=tmp_path)
    assert refused.returncode == 4
    assert "stays as it is; to put this run in its place, remove reference/records first" in refused.stderr
    assert sorted(path.name for path in (reference / "records").iterdir()) == before
    shutil.rmtree(reference / "records")
    assert capsbench(*update, cwd=tmp_path).returncode == 0
    assert sorted(path.name for path in (reference / "records").iterdir()) != before
