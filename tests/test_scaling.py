"""The work of the commands grows as the records and cells do, not as their square.

Work is counted as the lines of capsbench that are executed, which is the same on each machine. `.ci/scale` measures times.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import capsbench
from capsbench.comparing import check, compare
from capsbench.merging import merge
from capsbench.planning.matrix import plan_cells
from capsbench.pruning import prune
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.build import report
from capsbench.running.on_record import look_up
from capsbench.watching import Watch

SOURCE = str(Path(capsbench.__file__).parent)
SIZES = (20, 40, 60)
LIMIT = 1.02

Make = Callable[..., Record]


def count_lines(function: Callable[[], Any]) -> int:
    """Calls a function and returns how many lines of capsbench were executed, each time that one was."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        return count if frame.f_code.co_filename.startswith(SOURCE) else None

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return lines


def find_growth(work: Callable[[int], int]) -> float:
    """Returns the work from the second size to the third, divided by that from the first to the second: 1 if it is linear.

    Work that is the same for each size has no part in it.
    """
    few, more, most = map(work, SIZES)
    assert few < more < most
    return (most - more) / (more - few)


@pytest.fixture(scope="module")
def folders(capsules: Make, matched: Make, tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, Path]]:
    """Number -> two folders with records of so many learning rates: of each a network and its matched CNN, two seeds each."""
    made = {}
    for count in SIZES:
        made[count] = tuple(tmp_path_factory.mktemp(f"{name}-{count}") for name in ("before", "after"))
        for place, folder in enumerate(made[count]):
            store = Store(folder)
            for rate in range(count):
                for seed in (0, 1):
                    accuracy = 0.5 + (rate % 7 + 10 * seed + 3 * place) / 100
                    fields = {"seed": seed, "learning_rate": (1 + rate) / 1000}
                    store.write(capsules(accuracy, **fields))
                    store.write(matched(accuracy - 0.05, **fields))
    return made


def test_counted_lines_tell_linear_from_quadratic_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_scaling.SOURCE", str(Path(__file__).parent))

    def visit_all(count: int) -> list[int]:
        return [place + 1 for place in range(count)]

    def visit_pairs(count: int) -> list[int]:
        return [one + other for one in range(count) for other in range(count)]

    assert find_growth(lambda count: count_lines(lambda: visit_all(count))) == pytest.approx(1.0)
    assert find_growth(lambda count: count_lines(lambda: visit_pairs(count))) == pytest.approx(5 / 3, rel=0.1)


@pytest.mark.slow
def test_a_report_takes_work_as_there_are_contenders(folders: dict[int, tuple[Path, Path]]) -> None:
    def write_report(count: int) -> object:
        return report(folders[count][0], formats=["md", "csv", "tex"])

    write_report(SIZES[0])  # what is imported and cached once
    assert find_growth(lambda count: count_lines(lambda: write_report(count))) < LIMIT


WORK: dict[str, Callable[[Path, Path, Path], object]] = {
    "compare": lambda before, after, target: compare(before, after),
    "check": lambda before, after, target: check(before, after),
    "merge": lambda before, after, target: merge([before], target),
    "status": lambda before, after, target: Watch(before).look(),
    "prune": lambda before, after, target: prune(before),
    "load": lambda before, after, target: capsbench.load(before),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORK)
def test_a_command_takes_work_as_there_are_records(
    name: str, folders: dict[int, tuple[Path, Path]], tmp_path: Path
) -> None:
    def work(count: int, target: str) -> object:
        return WORK[name](*folders[count], tmp_path / target)

    work(SIZES[0], "first")
    assert find_growth(lambda count: count_lines(lambda: work(count, f"of-{count}"))) < LIMIT


def test_a_plan_takes_work_as_there_are_cells_and_so_do_their_records(tmp_path: Path) -> None:
    def plan(count: int) -> None:
        request = {"routing": "dynamic", "lr": [(1 + rate) / 1000 for rate in range(count)], "seeds": [0, 1, 2]}
        look_up(plan_cells(request), Store(tmp_path))

    plan(SIZES[0])
    assert find_growth(lambda count: count_lines(lambda: plan(count))) < LIMIT
