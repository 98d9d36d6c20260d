"""Wrong flags of `capsbench run`."""

from __future__ import annotations

import pytest


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
