"""What machines tell before they start, and that nothing starts on a folder that cannot be written."""

from __future__ import annotations

import pytest

from capsbench.errors import UsageError
from capsbench.records.store import Store
from capsbench.running import machines
from capsbench.running.events import Remarked
from capsbench.running.machines import Machines


class Told(list):
    """The remarks that a listener received."""

    def notify(self, event) -> None:
        assert isinstance(event, Remarked)
        self.append(event.remark)


class Started(Exception):
    """Raised in the place of a start."""


@pytest.mark.parametrize(
    ("executor", "address", "lines"),
    [("ray", "auto", 1), ("ray", None, 0), ("ray", "10.0.0.1:6379", 0), ("local", None, 0)],
)
def test_only_the_search_for_a_cluster_of_ray_is_told(executor, address, lines, tmp_path, monkeypatch):
    def start(*_):
        raise Started

    monkeypatch.setattr(machines, "make_executor", start)
    told = Told()
    with pytest.raises(Started):
        Machines(executor, ray_address=address).make_runner([], Store(tmp_path), tmp_path, told)
    assert len(told) == lines


@pytest.mark.parametrize(("budget", "lines"), [("1h", 1), (None, 0)])
def test_only_the_timing_for_a_budget_is_told(budget, lines, tmp_path):
    told = Told()
    Machines(budget=budget).make_schedule([], Store(tmp_path), tmp_path, told, fresh=False, leave_out=False)
    assert len(told) == lines


def test_nothing_is_timed_for_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    told = Told()
    with pytest.raises(UsageError):
        Machines(budget="1h").make_schedule([], Store(tmp_path / "file"), tmp_path, told)
    assert told == []
