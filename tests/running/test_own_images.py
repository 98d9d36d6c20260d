"""One's own images by their path: trained on, measured and shown, wherever the folder lies."""

import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

import capsbench
from capsbench import registry
from capsbench.errors import Kind, UsageError
from capsbench.planning.matrix import plan_cells
from capsbench.records.cell import DATA
from capsbench.records.parts import forget_datasets
from capsbench.records.store import Store
from capsbench.sources import locations
from tests.faults.calling import call

ASKED = {
    "routing": "dynamic",
    "iters": 1,
    "seeds": 0,
    "baseline": "matched",
    "epochs": 1,
    "measure": "accuracy",
    "device": "cpu",
}


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working folder with images of odd sizes in folders of their classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(locations, "_locations", {})
    generator = np.random.default_rng(0)
    for name, side in (("bar", 9), ("ring", 12)):
        (tmp_path / "data" / "shapes" / name).mkdir(parents=True)
        for number in range(10):
            pixels = generator.integers(0, 256, (side, side + 1, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / "shapes" / name / f"{number}.png")
    return tmp_path


def cells_of(dataset, **request):
    return capsbench.cells(dataset=dataset, **{**ASKED, "resize": "8x8", **request})


@pytest.mark.usefixtures("in_one_process")
def test_a_folder_is_trained_on_and_the_command_on_record_repeats_it(work):
    outcome = capsbench.run(out="results", dataset="folder:data/shapes", resize="8x8", **ASKED)
    assert len(outcome.finished) == 2
    records, _ = Store("results").records()
    for record in records:
        assert record.cell.dataset == "folder:shapes"
        assert record.cell.options["dataset.resize"] == "8x8"
        assert record.cell.options["dataset.split_seed"] == 0
        assert DATA in record.cell.code
        assert record.request["dataset"] == "folder:data/shapes"
        assert record.request["resize"] == "8x8"
        (planned, *_) = capsbench.api.plan(**record.request).cells
        assert record.cell.id in {planned.cell.id, *outcome.finished}
    again = capsbench.run(out="results", dataset="folder:data/shapes", resize="8x8", **ASKED)
    assert sorted(again.on_record) == sorted(outcome.finished)


@pytest.mark.usefixtures("in_one_process")
def test_the_same_images_elsewhere_are_the_same_cells_and_others_are_not(work, monkeypatch):
    first = cells_of("folder:data/shapes")
    assert cells_of(f"folder:{work / 'data' / 'shapes'}") == first
    shutil.copytree(work / "data" / "shapes", work / "elsewhere" / "shapes")
    assert cells_of("folder:elsewhere/shapes") == first
    monkeypatch.chdir(work / "elsewhere")
    assert cells_of("folder:shapes") == first
    Image.new("RGB", (9, 9)).save(work / "elsewhere" / "shapes" / "bar" / "0.png")
    assert not {cell.id for cell in cells_of("folder:shapes")} & {cell.id for cell in first}


@pytest.mark.usefixtures("in_one_process")
def test_options_of_the_data_are_axes_and_baselines_share_them(work):
    cells = cells_of("folder:data/shapes", resize=["8x8", 10], crop=8)
    assert sorted((cell.options["dataset.resize"], cell.routing or "") for cell in cells) == [
        ("10", ""), ("10", "dynamic"), ("8x8", ""), ("8x8", "dynamic"),
    ]  # fmt: skip
    assert all(cell.options["dataset.crop"] == "8" for cell in cells)
    assert len({cell.code[DATA] for cell in cells}) == 2


@pytest.mark.parametrize(
    ("request_", "kind", "flag"),
    [
        ({}, Kind.CONFLICT, "resize"),
        ({"resize": "8x"}, Kind.INVALID, "resize"),
        ({"resize": 8, "test_share": 0.95}, Kind.INVALID, "test_share"),
        ({"resize": "8x8", "split_seed": -1}, Kind.INVALID, "split_seed"),
        ({"resize": "8x8", "dataset": "folder:data/none"}, Kind.MISSING, "dataset"),
        ({"resize": "8x8", "dataset": "data/shapes"}, Kind.UNKNOWN, "dataset"),
        ({"resize": "8x8", "dataset": "folder"}, Kind.UNKNOWN, "dataset"),
        ({"resize": "8x8", "dataset": "digits"}, Kind.CONFLICT, "resize"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(work, request_, kind, flag):
    with pytest.raises(UsageError) as caught:
        plan_cells({**ASKED, "dataset": "folder:data/shapes", **request_})
    assert (caught.value.kind, caught.value.flag) == (kind, flag)
    assert "\n" not in str(caught.value)


def test_two_folders_of_one_name_in_one_run_are_refused(work):
    shutil.copytree(work / "data" / "shapes", work / "elsewhere" / "shapes")
    with pytest.raises(UsageError) as caught:
        plan_cells({**ASKED, "resize": "8x8", "dataset": "folder:data/shapes,folder:elsewhere/shapes"})
    assert (caught.value.kind, caught.value.value) == (Kind.CONFLICT, "folder:elsewhere/shapes")


@pytest.mark.usefixtures("in_one_process")
def test_a_damaged_image_ends_the_run_before_it_starts(work):
    (work / "data" / "shapes" / "bar" / "0.png").write_bytes(b"no image")
    flags = "--routing dynamic --seeds 0 --epochs 1 --measure accuracy --resize 8x8 --dataset folder:data/shapes"
    code, out, err = call("run", *flags.split())
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "bar/0.png" in err
    code, out, _ = call("data", "list", "folder:data/shapes", "--resize", "8x8", "--json")
    (row,) = json.loads(out)["datasets"]
    assert (code, row["here"], [*row["damaged"]]) == (0, "damaged", ["bar/0.png"])


@pytest.mark.usefixtures("in_one_process")
def test_data_list_and_verify_tell_classes_counts_and_shape(work):
    code, out, _ = call("data", "list", "folder:data/shapes", "--resize", "8x8", "--json")
    (row,) = json.loads(out)["datasets"]
    assert code == 0
    assert (row["class_names"], row["image"]) == (["bar", "ring"], [3, 8, 8])
    assert row["images"] == {"train": 14, "validation": 2, "test": 4}
    assert row["images_by_class"]["bar"] == {"train": 7, "validation": 1, "test": 2}
    code, out, _ = call("data", "list", "folder:data/shapes")
    assert code == 0
    assert "bar, ring" in out
    code, out, _ = call("data", "verify", "folder:data/shapes", "--resize", "8x8")
    assert (code, "14 train" in out) == (0, True)
    code, _, err = call("data", "list", "folder:data/shapes", "--size", "8")
    assert (code, "--resize" in err) == (2, True)


@pytest.mark.usefixtures("in_one_process")
def test_networks_are_measured_later_from_where_the_images_lay(work, monkeypatch):
    capsbench.run(out="results", dataset="folder:data/shapes", resize="8x8", **{**ASKED, "baseline": "none"})
    monkeypatch.setattr(locations, "_locations", {})
    outcome = capsbench.measure("results", measure="cost")
    assert len(outcome.finished) == 1


def refuse(call_, *arguments, **request):
    with pytest.raises(UsageError) as caught:
        call_(*arguments, **request)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.usefixtures("in_one_process")
def test_images_that_moved_are_found_where_the_user_says(work, monkeypatch):
    capsbench.run(out="results", dataset="folder:data/shapes", resize="8x8", **{**ASKED, "baseline": "none"})
    (work / "data").rename(work / "moved")
    (work / "other").mkdir()

    def measure(**where):
        monkeypatch.setattr(locations, "_locations", {})
        forget_datasets()
        return capsbench.measure("results", measure="cost", **where)

    for command in (measure, lambda: capsbench.show("dynamic", out="results")):
        assert "{flag:dataset}" in str(refuse(command)) or "dataset folder:PATH" in str(refuse(command))
    assert refuse(measure, dataset="folder:data/shapes").kind is Kind.INVALID  # no longer there
    assert refuse(measure, dataset="folder:other").kind is Kind.CONFLICT  # of another name
    assert len(measure(dataset="folder:moved/shapes").finished) == 1
    monkeypatch.setattr(locations, "_locations", {})
    assert capsbench.show("dynamic", out="results", dataset="folder:moved/shapes", images=1).files


@pytest.mark.usefixtures("in_one_process")
def test_images_that_changed_are_refused_before_anything_is_measured(work):
    capsbench.run(out="results", dataset="folder:data/shapes", resize="8x8", **{**ASKED, "baseline": "none"})
    Image.new("RGB", (9, 9)).save(work / "data" / "shapes" / "bar" / "0.png")
    error = refuse(capsbench.measure, "results", measure="cost")
    assert (error.kind, error.flag) == (Kind.CONFLICT, "out")
    assert Store("results").records()[0][0].failures == {}


@pytest.mark.usefixtures("in_one_process")
def test_what_options_leave_as_it_is_is_told_once(work):
    request = {**ASKED, "dataset": "folder:data/shapes", "resize": ["10x10", "12x12"], "crop": 8}
    remarks = capsbench.api.plan(**request).remarks
    assert len(remarks) == len(set(remarks)) >= 1


@pytest.mark.usefixtures("in_one_process")
def test_a_path_is_a_data_set_by_its_kind(work):
    np.savez(work / "shapes.npz", images=np.zeros((30, 8, 8), np.uint8), labels=np.arange(30) % 2)
    asked = {**ASKED, "baseline": "none"}
    both = cells_of([work / "data" / "shapes", "folder:data/shapes", work / "shapes.npz"], **asked)
    assert [cell.dataset for cell in both] == ["folder:shapes", "npz:shapes.npz"]
    assert cells_of(work / "data" / "shapes", **asked) == both[:1]


@pytest.mark.usefixtures("in_one_process")
def test_a_network_predicts_although_its_images_are_gone(work, monkeypatch):
    capsbench.run(out="results", dataset="folder:data/shapes", resize="8x8", **{**ASKED, "baseline": "none"})
    image = work / "data" / "shapes" / "bar" / "0.png"
    before = capsbench.network(out="results").predict(image)
    monkeypatch.setattr(locations, "_locations", {})
    (work / "data").rename(work / "moved")
    forget_datasets()
    after = capsbench.network(out="results").predict(work / "moved" / "shapes" / "bar" / "0.png")
    assert {before.label, after.label} <= {"bar", "ring"}
    assert after.scores == before.scores
    with pytest.raises(UsageError) as caught:
        capsbench.show("dynamic", out="results")
    assert (caught.value.kind, caught.value.flag) == (Kind.MISSING, "dataset")


@pytest.mark.usefixtures("in_one_process")
def test_images_in_memory_are_written_once_and_the_command_on_record_repeats_them(work):
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    pair = (images, np.arange(30) % 3)
    outcome = capsbench.run(out="results", data_dir="cache", dataset=pair, **{**ASKED, "baseline": "none"})
    (record,) = Store("results").records()[0]
    (file,) = (work / "cache" / "own").iterdir()
    assert record.cell.dataset == f"npz:{file.name}"
    assert [cell.id for cell in capsbench.cells(**record.request)] == outcome.finished
    assert [
        cell.id for cell in capsbench.cells(data_dir="cache", dataset=pair, **{**ASKED, "baseline": "none"})
    ] == outcome.finished


@pytest.mark.parametrize("request_", [{"resize": "8x"}, {"nosuch": 1}, {}])
@pytest.mark.usefixtures("in_one_process")
def test_images_in_memory_that_are_refused_leave_nothing(work, request_):
    pair = (np.zeros((30, 8, 8), np.uint8), np.arange(30) % 3)
    one_label_missing = (pair[0], pair[1][:-1])
    refused = pair if request_ else one_label_missing
    refuse(capsbench.run, out="results", data_dir="cache", dataset=refused, **{**ASKED, **request_})
    assert not [*(work / "cache").rglob("*.npz")]


OWN = """
import torch
from capsbench.data import Dataset, Images, ImageShape, Splits

class Squares(Dataset):
    classes = 2

    def __init__(self, side: int = 8, level: float = 1.0):
        self.level, self.image = level, ImageShape(1, side, side)

    def load(self, folder):
        labels = torch.arange(20) % 2
        part = Images(labels.float()[:, None, None, None] * torch.full((1, *self.image), self.level), labels)
        return Splits(part, part, part)
"""


@pytest.mark.usefixtures("in_one_process")
def test_a_data_set_of_ones_own_has_options_too(work, monkeypatch):
    (work / "squares.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", [*sys.path, str(work)])
    request = {**ASKED, "dataset": "squares:Squares", "side": "8,10", "level": 0.5}
    assert {cell.options["dataset.side"] for cell in capsbench.cells(**request)} == {8, 10}
    outcome = capsbench.run(out="results", **{**request, "side": 10, "baseline": "none"})
    assert len(outcome.finished) == 1
    sys.modules.pop("squares", None)


def test_a_scheme_is_code_of_capsbench_for_data_sets_alone():
    assert registry.find_shipped("dataset", "folder:x") is not None
    assert registry.find_shipped("routing", "folder:x") is None
    assert registry.source_digest("dataset", "folder:x") is None
    assert registry.folder_of("dataset", "folder:x") is None
    assert registry.declared_version("dataset", "folder:x") == 1
    with pytest.raises(UsageError) as caught:
        registry.get("routing", "folder:Mine")
    assert caught.value.kind is Kind.UNTRUSTED
