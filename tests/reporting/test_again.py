"""How a report's cells are made again, worked out beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from capsbench.records.record import Record
from capsbench.reporting.again import begin, grouped
from capsbench.reporting.rerun import commands, failures

Make = Callable[..., Record]


def test_beside_the_report_the_same_is_worked_out_as_here(capsules: Make, matched: Make, failed: Make) -> None:
    groups = grouped([capsules(seed=0), capsules(seed=1), matched(), failed()])
    repeats = begin()(groups)()
    assert repeats.contenders == commands(groups)
    assert repeats.failures == failures(groups)
    assert len(repeats.contenders) == 2
    assert len(repeats.failures) == 1


def test_torch_is_not_imported_to_read_records_and_report_on_them() -> None:
    imported = (
        "import sys, capsbench, capsbench.cli.report; capsbench.load, capsbench.report; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", imported], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
