"""A user's own data set that crashes or leaves is told in a line, wherever it is loaded before a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import capsbench
from capsbench import registry
from capsbench.data.sets.cifar10 import BATCHES
from capsbench.errors import Kind, UsageError
from capsbench.planning.matrix import plan_cells
from capsbench.running import load_data
from capsbench.running.load_data import check_data, count_images, identify_data, list_cell_files, list_data_files

LEAVING = """
import os
from capsbench.data import Dataset, ImageShape

class {name}(Dataset):
    image, classes = ImageShape(1, 8, 8), 2

    def load(self, folder):
        {leave}
"""
ASKED = {"routing": "dynamic", "seeds": 0, "baseline": "none", "epochs": 1, "measure": "accuracy"}
WAYS = {
    "Vanishing": "os._exit(0)",
    "Crashing": "import ctypes; ctypes.string_at(0)",
    "Exiting": "import sys; sys.exit()",
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module of own data sets that end their process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    classes = [LEAVING.format(name=name, leave=leave) for name, leave in WAYS.items()]
    (tmp_path / "leaving.py").write_text("\n".join(classes))
    registry.trust(f"leaving:{name}" for name in WAYS)
    yield tmp_path
    sys.modules.pop("leaving", None)


@pytest.mark.parametrize("name", WAYS)
def test_an_own_data_set_that_ends_its_process_is_refused(own: Path, name: str) -> None:
    dataset = f"leaving:{name}"
    planned = plan_cells({**ASKED, "dataset": dataset})
    for load in (
        lambda: identify_data(planned, own),
        lambda: check_data([job.cell for job in planned], own),
        lambda: count_images(dataset, own),
    ):
        with pytest.raises(UsageError) as caught:
            load()
        assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.DAMAGED, "dataset", dataset)
    assert identify_data(planned, own, leave_out=True) == planned


def test_a_run_without_other_data_ends_in_a_line(own: Path) -> None:
    with pytest.raises(UsageError) as caught:
        capsbench.run(dataset="leaving:Vanishing", out=own / "results", **ASKED)
    assert "exit code 0" in caught.value.problem
    assert not (own / "results" / "records").exists()


def test_a_suite_leaves_out_an_own_data_set_that_ends_its_process(own: Path) -> None:
    (own / "mine.toml").write_text(
        'routing = ["dynamic"]\ndataset = ["digits", "leaving:Vanishing"]\nseeds = [0]\nepochs = 1\n'
        'train_size = 40\nmeasure = ["none"]\nbaseline = ["none"]\n'
    )
    plan = capsbench.api.plan("mine.toml")
    assert [job.cell.dataset for job in plan.cells] == ["digits"]
    assert plan.left_out.keys() == {"leaving:Vanishing"}


def test_data_verify_reports_an_own_data_set_that_ends_its_process(own, capsbench) -> None:  # type: ignore[no-untyped-def]
    done = capsbench("data", "verify", "digits", "leaving:Vanishing", "--json", cwd=own)
    checks = json.loads(done.stdout)["checks"]
    assert (done.returncode, [check["ok"] for check in checks]) == (2, [True, False])


def test_built_in_data_are_loaded_without_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_data, "in_processes", None)
    assert count_images("digits", tmp_path).keys() == {"train", "validation", "test"}
    assert check_data([job.cell for job in plan_cells(ASKED)], tmp_path) == {}
    with pytest.raises(UsageError) as caught:
        count_images("digits", tmp_path, [10, 10_000])
    assert (caught.value.flag, caught.value.value) == ("train_size", 10_000)


def test_the_files_of_a_data_set_are_those_that_lie_in_the_folder(tmp_path: Path) -> None:
    assert list_data_files("digits", tmp_path) == list_data_files("mnist", tmp_path) == ()
    named = [file.path for file in registry.get("dataset", "mnist").files]
    published, decompressed = tmp_path / named[0], tmp_path / named[1].removesuffix(".gz")
    published.parent.mkdir(parents=True)
    for path in (published, decompressed, published.with_name("other")):
        path.touch()
    assert list_data_files("mnist", tmp_path) == (named[0], named[1].removesuffix(".gz"))
    cell = plan_cells({**ASKED, "dataset": "fashion-mnist"})[0].cell
    assert list_cell_files(cell, ["accuracy"], tmp_path) == ()
    assert list_cell_files(cell, ["accuracy", "ood"], tmp_path) == list_data_files("mnist", tmp_path)
    batches = [tmp_path / "cifar-10-batches-py" / name for name in BATCHES]
    batches[0].parent.mkdir()
    for path in batches:
        path.touch()
    assert {*list_data_files("cifar10", tmp_path)} == {f"cifar-10-batches-py/{name}" for name in BATCHES}
