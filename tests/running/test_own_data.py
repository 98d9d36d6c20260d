"""The images of a user's own data set are a part of a network's identity, and those of any are on record."""

import sys

import numpy as np
import pytest

import capsbench
from capsbench.data.base import load_splits
from capsbench.data.digest import digest_parts, join_digests
from capsbench.errors import Kind, TrainingFailed, UsageError
from capsbench.planning.matrix import plan_cells
from capsbench.records.cell import DATA
from capsbench.records.store import Store
from capsbench.running.cell_job import prepare_process
from capsbench.running.load_data import identify_data
from capsbench.running.on_record import Edited, find_edited, find_records
from capsbench.running.runner import Runner
from tests.faults.calling import call

OWN = """
from pathlib import Path

import numpy as np
import torch

from capsbench.data import Dataset, Images, ImageShape, Splits

class Mine(Dataset):
    image, classes = ImageShape(1, 8, 8), 2

    def load(self, folder):
        pixels = torch.from_numpy(np.load(Path(__file__).with_name("pixels.npy")))
        part = Images(pixels, torch.arange(20) % 2)
        return Splits(part, part, part)

class Random(Mine):
    def load(self, folder):
        splits = super().load(folder)
        return Splits(splits.train, splits.validation, Images(torch.rand(20, 1, 8, 8), splits.test.labels))
"""
ASKED = {
    "dataset": "own_here:Mine", "routing": "dynamic", "iters": 1, "seeds": [0, 1], "baseline": "none", "epochs": 1,
    "measure": "accuracy",
}  # fmt: skip


def put_images(work, level):
    np.save(work / "pixels.npy", np.full((20, 1, 8, 8), level, dtype=np.float32))


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with a data set of one's own and the file that it reads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    (tmp_path / "own_here.py").write_text(OWN)
    put_images(tmp_path, 0.5)
    yield tmp_path
    sys.modules.pop("own_here", None)


@pytest.mark.usefixtures("in_one_process")
def test_other_images_make_other_networks_and_the_images_of_before_are_on_record(work):
    first = capsbench.run(out=work / "results", **ASKED)
    assert len(first.finished) == 2
    assert capsbench.run(out=work / "results", **ASKED).on_record == first.finished
    put_images(work, 0.25)
    plan = capsbench.api.plan(**ASKED)
    assert not {each.cell.id for each in plan.cells} & {*first.finished}
    store = Store(work / "results")
    changed = ("test images", "train images", "validation images")
    assert find_edited(plan.cells, store, find_records(plan.cells, store)) == [Edited("data own_here:Mine", changed, 2)]
    assert len(capsbench.run(out=work / "results", **ASKED).finished) == 2
    put_images(work, 0.5)
    assert capsbench.run(out=work / "results", **ASKED).on_record == first.finished


@pytest.mark.usefixtures("in_one_process")
def test_a_record_of_before_there_were_digests_is_not_known_to_be_of_these_images(work):
    planned = plan_cells(ASKED)
    without = Runner(planned, Store(work / "results"), work, Silent()).run()
    store, now = Store(work / "results"), identify_data(planned, work)
    assert [DATA in store.read(cell).cell.code for cell in without.finished] == [False, False]
    assert not find_records(now, store)
    (edited,) = find_edited(now, store, {})
    assert (edited.part, edited.networks) == ("data own_here:Mine", 2)


class Silent:
    """Listens to a run, and says nothing."""

    def notify(self, event):
        pass


@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
def test_a_data_set_whose_two_loads_differ_is_refused_before_anything_runs(work, flags):
    capsbench.registry.trust(["own_here:Random"])
    with pytest.raises(UsageError) as caught:
        capsbench.cells(**{**ASKED, "dataset": "own_here:Random"})
    error = caught.value
    assert (error.kind, error.flag, error.value) == (Kind.CONFLICT, "dataset", "own_here:Random")
    assert "test images" in error.problem
    code, out, err = call("run", "--dataset", "own_here:Random", "--routing", "dynamic", *flags)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert not (work / "results" / "records").exists()


def test_data_that_change_after_they_were_planned_train_nothing(work):
    planned = identify_data(plan_cells(ASKED), work)[0]
    prepare_process(planned, work)
    put_images(work, 0.75)
    with pytest.raises(TrainingFailed, match="test images, train images, validation images"):
        prepare_process(planned, work)


def test_a_built_in_data_set_has_its_digest_on_record_and_no_part_in_the_identity(work):
    asked = {**ASKED, "dataset": "digits", "train_size": 20}
    (planned,) = plan_cells({**asked, "seeds": 0})
    assert identify_data([planned], work) == [planned]
    _, parts = prepare_process(planned, work)
    assert parts == digest_parts(load_splits("digits", work))  # whatever is drawn of the training images


@pytest.mark.usefixtures("in_one_process")
def test_training_and_measures_name_the_data_that_they_had(work):
    (cell,) = capsbench.run(
        out=work / "results", **{**ASKED, "dataset": "digits", "train_size": 20, "seeds": 0}
    ).finished
    record = Store(work / "results").read(cell)
    digest = join_digests(digest_parts(load_splits("digits", work)))
    assert record.training.data == record.measures["accuracy"].data == digest
    assert join_digests(record.training.sources[DATA]) == digest
