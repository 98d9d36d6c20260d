"""Wrong flags of `capsbench run`."""

from __future__ import annotations

import pytest

from capsbench.records.store import Store
from capsbench.stats.sequential import LOOKS


@pytest.mark.parametrize(
    ("arguments", "start", "part"),
    [
        (("--worker", "3"), "capsbench: --worker: unknown", "did you mean '--workers'?"),
        (("--seedz", "3"), "capsbench: --seedz: unknown", "did you mean '--seeds'?"),
        (("--executor", "condor"), "capsbench: --executor: unknown 'condor'", "choose from local, ray, slurm"),
        (("--detach",), "capsbench: --detach: is for --executor slurm", ""),
    ],
)
def test_a_dry_run_refuses_flags_as_the_run_does(arguments, start, part, capsbench, tmp_path):
    answers = [capsbench("run", "--routing", "em", *arguments, *dry, cwd=tmp_path) for dry in ((), ("--dry-run",))]
    assert [answer.returncode for answer in answers] == [2, 2]
    (line,) = {answer.stderr for answer in answers}
    assert line.startswith(start)
    assert part in line


def test_seeds_are_added_until_a_comparison_is_decided(capsbench, in_one_process, tmp_path):
    quick = ("--routing", "dynamic,uniform", "--baseline", "none", "--train-size", "30", "--epochs", "1")
    answer = capsbench("run", *quick, "--measure", "accuracy", "--until-decided", "uniform,dynamic", cwd=tmp_path)
    assert answer.returncode == 0
    records, _ = Store(tmp_path / "results").records()
    seeds = {
        record.cell.routing: {r.cell.seed for r in records if r.cell.routing == record.cell.routing}
        for record in records
    }
    assert seeds["dynamic"] == seeds["uniform"]
    assert len(seeds["dynamic"]) in LOOKS
    line = answer.stdout.splitlines()[0]
    assert f"after {len(seeds['dynamic'])} seeds" in line
    decided = "better" in line or "worse" in line
    assert decided or len(seeds["dynamic"]) == LOOKS[-1]
    assert all(len(set(run.decides)) == 2 for run in Store(tmp_path / "results").runs())


@pytest.mark.parametrize("flag", [("--shard", "1/2"), ("--fresh",), ("--seeds", "0,1"), ("--track", "tensorboard")])
def test_flags_that_fix_the_seeds_are_refused_beside_it(flag, capsbench, tmp_path):
    for dry in ((), ("--dry-run",)):
        answer = capsbench("run", "--routing", "em,dynamic", "--until-decided", "em,dynamic", *flag, *dry, cwd=tmp_path)
        assert answer.returncode == 2
        assert flag[0] in answer.stderr
    assert not (tmp_path / "results").exists()
