"""Trackers by name: what is unknown, not installed or does not start is said before the run."""

from __future__ import annotations

import importlib.machinery
from pathlib import Path

import pytest

from capsbench import registry
from capsbench.errors import Kind, UsageError
from capsbench.running.trackers.build import choose_trackers, describe_trackers, start_trackers
from capsbench.running.trackers.tensorboard import TensorBoardTracker

OWN = """
from capsbench.running.trackers import TrackedRun, Tracker

class Mine(Tracker):
    def start_run(self, cell, title):
        return None

class Unlucky(Mine):
    def __init__(self, folder):
        raise ConnectionError("nobody answers")
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_tracker.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def test_each_tracker_has_a_folder_of_its_name(tmp_path: Path) -> None:
    trackers = start_trackers(choose_trackers(["tensorboard", "tensorboard"]), tmp_path)
    assert [type(tracker) for tracker in trackers.values()] == [TensorBoardTracker]
    assert trackers["tensorboard"].folder == tmp_path / "tensorboard"
    (line,) = describe_trackers(trackers)
    assert str(tmp_path / "tensorboard") in line


@pytest.mark.usefixtures("own")
def test_an_own_tracker_is_named_by_its_path(tmp_path: Path) -> None:
    trackers = start_trackers(choose_trackers(["own_tracker:Mine"]), tmp_path)
    assert trackers["own_tracker:Mine"].folder == tmp_path / "own_tracker.Mine"
    assert describe_trackers(trackers) == []


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tensorbord", Kind.UNKNOWN),
        ("", Kind.UNKNOWN),
        (3, Kind.INVALID),
        ("own_tracker:Nobody", Kind.UNKNOWN),
        ("own_tracker:TrackedRun", Kind.INVALID),
        ("os:system", Kind.INVALID),
    ],
)
def test_what_is_no_tracker_is_refused(name: str, kind: Kind) -> None:
    with pytest.raises(UsageError) as caught:
        choose_trackers([name])
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (kind, "track", name)


@pytest.mark.parametrize("name", registry.BUILT_IN["tracker"])
@pytest.mark.parametrize("left_behind", [None, importlib.machinery.ModuleSpec("a folder", None)])
def test_a_package_that_is_not_installed_is_told_with_its_extra(
    name: str, left_behind: importlib.machinery.ModuleSpec | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.get("tracker", name)
    monkeypatch.setattr("importlib.util.find_spec", lambda package: left_behind)
    with pytest.raises(UsageError) as caught:
        choose_trackers([name])
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.MISSING, "track", name)
    assert f'pip install "capsbench[{name}]"' in str(caught.value)


@pytest.mark.usefixtures("own")
def test_a_tracker_that_does_not_start_is_one_line(tmp_path: Path) -> None:
    chosen = choose_trackers(["own_tracker:Unlucky"])
    with pytest.raises(UsageError) as caught:
        start_trackers(chosen, tmp_path)
    assert (caught.value.kind, caught.value.flag) == (Kind.INACCESSIBLE, "track")
    assert "ConnectionError: nobody answers" in str(caught.value)
