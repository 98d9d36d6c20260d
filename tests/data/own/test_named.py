"""Data sets that torchvision and Hugging Face name or have in memory; nothing is downloaded here."""

import sys
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torchvision
from PIL import Image as Pillow

from capsbench.data.images import ANY_NUMBER
from capsbench.data.own import adopt_request
from capsbench.data.own.hugging_face import HuggingFaceSet
from capsbench.errors import Kind
from capsbench.records.parts import open_dataset
from capsbench.sources import locations
from tests.data.faults import usage_error


class Small(torchvision.datasets.FakeData):
    """A data set of torchvision that is made here."""

    def __init__(self, root: Any = None, train: bool = True, download: bool = False) -> None:
        assert download
        super().__init__(20 if train else 6, (3, 8, 6), 2, random_offset=0 if train else 100)


class Parted(torchvision.datasets.FakeData):
    """Like `Small`, with its parts by name."""

    def __init__(self, split: str = "train") -> None:
        if split not in ("train", "val", "test"):
            raise ValueError(split)
        super().__init__({"train": 20, "val": 4, "test": 6}[split], (3, 8, 6), 2)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Small, Parted):
        monkeypatch.setattr(torchvision.datasets, kind.__name__, kind, raising=False)
    monkeypatch.setattr(torchvision.datasets, "__all__", (*torchvision.datasets.__all__, "Small", "Parted"))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("name", "counts"),
    [("Small", {"train": 18, "validation": 2, "test": 6}), ("Parted", {"train": 20, "validation": 4, "test": 6})],
)
def test_a_name_of_torchvision_is_fetched_once(tmp_path: Path, name: str, counts: dict[str, int]) -> None:
    typed = f"torchvision:{name}"
    assert adopt_request({"dataset": typed}, tmp_path) == {"dataset": typed}
    assert locations.locate(typed) == typed == locations.spell_typed(typed)
    assert open_dataset(typed).image_counts == counts
    assert open_dataset(typed, {"resize": "4x4"}).load(tmp_path).test.images.shape == (6, 3, 4, 4)
    before = Path(locations.path_of(typed)).stat()
    adopt_request({"dataset": ["digits", typed]}, tmp_path)
    assert Path(locations.path_of(typed)).stat() == before


@pytest.mark.parametrize("name", ["Fakedata", "VisionDataset2", "", "wrap_dataset_for_transforms_v2"])
def test_an_unknown_name_of_torchvision_is_refused(tmp_path: Path, name: str) -> None:
    error = usage_error(adopt_request, {"dataset": f"torchvision:{name}"}, tmp_path)
    assert (error.kind, error.flag) == (Kind.UNKNOWN, "dataset")


def test_what_torchvision_cannot_have_is_refused(tmp_path: Path) -> None:
    error = usage_error(adopt_request, {"dataset": "torchvision:ImageNet"}, tmp_path)
    assert (error.kind, error.flag) == (Kind.MISSING, "dataset")


# ---------------------------------------------------------------------------------------------------------------------
# A stand-in for the library of Hugging Face, with what capsbench asks of it


class Image:
    def __init__(self, decode: bool = True) -> None:
        pass


class ClassLabel:
    def __init__(self, names: list[str]) -> None:
        self.names = names


class Value:
    pass


class Dataset:
    def __init__(self, columns: dict[str, list[Any]], features: dict[str, Any]) -> None:
        self.columns, self.features, self._fingerprint = columns, features, str(sorted(columns))

    def __getitem__(self, key: Any) -> Any:
        return (
            self.columns[key] if isinstance(key, str) else {name: values[key] for name, values in self.columns.items()}
        )

    def with_format(self, kind: None) -> "Dataset":
        columns = {
            name: values.tolist() if isinstance(values, np.ndarray) else values for name, values in self.columns.items()
        }
        return Dataset(columns, self.features)

    def cast_column(self, name: str, feature: Image) -> "Dataset":
        return self

    def save_to_disk(self, path: str) -> None:
        Path(path).mkdir()
        SAVED[Path(path).stat().st_ino] = self


SAVED: dict[int, Any] = {}
"""The folder of a saved data set, which may be renamed -> the data set."""


class DatasetDict(dict[str, Dataset]):
    save_to_disk = Dataset.save_to_disk

    def with_format(self, kind: None) -> "DatasetDict":
        return DatasetDict({name: part.with_format(kind) for name, part in self.items()})


def load_from_disk(path: str) -> Any:
    if (number := Path(path).stat().st_ino) not in SAVED:
        raise FileNotFoundError(f"Directory {path} is neither a dataset directory nor a dataset dict directory.")
    return SAVED[number]


def load_dataset(name: str, cache_dir: str) -> Any:
    if name != "owner/shapes":
        raise ConnectionError(f"Dataset '{name}' doesn't exist on the Hub")
    return DatasetDict(train=rows(20), test=rows(6))


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    fake: Any = ModuleType("datasets")
    for item in (Image, ClassLabel, Dataset, DatasetDict, load_from_disk, load_dataset):
        setattr(fake, item.__name__, item)
        monkeypatch.setattr(item, "__module__", "datasets")
    monkeypatch.setitem(sys.modules, "datasets", fake)
    yield
    SAVED.clear()


def rows(count: int, **changed: Any) -> Dataset:
    images = []
    for number in range(count):
        buffer = BytesIO()
        Pillow.new("L", (6, 8), number).save(buffer, "png")
        images.append({"bytes": buffer.getvalue(), "path": None})
    columns = {"image": images, "label": [number % 2 for number in range(count)]}
    return Dataset(columns | changed, {"image": Image(), "label": ClassLabel(["ring", "bar"])})


def save(value: Any, folder: Path) -> HuggingFaceSet:
    value.save_to_disk(str(folder / "saved"))
    return HuggingFaceSet(str(folder / "saved"))


def test_a_saved_format_does_not_matter(tmp_path: Path) -> None:
    labels = np.arange(20) % 2
    assert save(rows(20, label=labels), tmp_path).class_names == ["ring", "bar"]


def test_a_class_that_only_test_images_show_is_refused(tmp_path: Path) -> None:
    test = rows(2)
    test.features["label"] = ClassLabel(["ring", "star"])
    assert "star" in usage_error(save, DatasetDict(train=rows(20), test=test), tmp_path).problem


def test_a_saved_data_set_is_read_with_its_class_names(tmp_path: Path) -> None:
    shapes = save(rows(20), tmp_path)
    assert (shapes.class_names, shapes.image) == (["ring", "bar"], (1, 8, 6))
    assert shapes.image_counts == {"train": 14, "validation": 2, "test": 4}
    images, labels = shapes.load(tmp_path).train
    assert ((images[:, 0, 0, 0] * 255).round().long() % 2).equal(labels)


def test_a_dictionary_of_parts_is_a_given_split(tmp_path: Path) -> None:
    assert save(DatasetDict(train=rows(20), valid=rows(4), test=rows(6)), tmp_path).image_counts["validation"] == 4


class List:
    """A feature of sequences, as the library names it."""

    def __init__(self, feature: Any) -> None:
        self.feature = feature


CLASSES = [[0], [1, 0], [], [1]]


@pytest.mark.parametrize("feature", [List(ClassLabel(["ring", "bar"])), [ClassLabel(["ring", "bar"])]])
def test_sequences_of_labels_are_any_number_of_classes(tmp_path: Path, feature: Any) -> None:
    table = rows(20, label=[CLASSES[number % 4] for number in range(20)])
    table.features["label"] = feature
    shapes = save(table, tmp_path)
    assert (shapes.labels_an_image, shapes.class_names) == (ANY_NUMBER, ["ring", "bar"])
    images, labels = shapes.load(tmp_path).train
    numbers = (images[:, 0, 0, 0] * 255).round().long().tolist()
    assert labels.tolist() == [[label in CLASSES[number % 4] for label in (0, 1)] for number in numbers]


@pytest.mark.parametrize("first", [[0, 0], [None], None, 0, [True, False], [0.5]])
def test_other_sequences_are_refused_in_one_line(tmp_path: Path, first: Any) -> None:
    table = rows(20, label=[first, *[[0], [1]] * 9, [0]])
    table.features["label"] = List(Value())
    assert usage_error(save, table, tmp_path).kind is Kind.DAMAGED


def test_files_beside_the_table_are_read_too(tmp_path: Path) -> None:
    Pillow.fromarray(np.zeros((8, 6), np.uint8)).save(tmp_path / "a.png")
    images = [{"bytes": None, "path": str(tmp_path / "a.png")}] * 20
    assert save(rows(20, image=images), tmp_path).load(tmp_path).test.images.shape == (4, 1, 8, 6)


@pytest.mark.parametrize(
    "value",
    [
        DatasetDict(train=rows(20), unsupervised=rows(4)),
        rows(20, label=[None] * 20),
        rows(20, label=[-1] * 20),
        rows(20, label=[0.5] * 20),
        Dataset({"label": [0, 1]}, {"label": ClassLabel(["a", "b"])}),
        Dataset({"image": [], "kind": []}, {"image": Image(), "kind": Value()}),
        Dataset({"image": [], "mask": [], "label": []}, {"image": Image(), "mask": Image(), "label": Value()}),
    ],
)
def test_other_tables_are_refused_in_one_line(tmp_path: Path, value: Any) -> None:
    error = usage_error(save, value, tmp_path)
    assert (error.kind, error.flag) == (Kind.DAMAGED, "dataset")


def test_columns_may_be_named(tmp_path: Path) -> None:
    table = rows(20)
    table.features["mask"], table.columns["mask"] = Image(), table.columns["image"]
    table.save_to_disk(str(tmp_path / "saved"))
    path = str(tmp_path / "saved")
    assert usage_error(HuggingFaceSet, path).kind is Kind.DAMAGED
    assert HuggingFaceSet(path, image_column="mask", label_column="label").classes == 2
    assert usage_error(lambda: HuggingFaceSet(path, image_column="other")).flag == "image_column"


def test_a_row_without_image_is_told(tmp_path: Path) -> None:
    table = rows(20)
    table.columns["image"][3] = None
    assert usage_error(save(table, tmp_path).load, tmp_path).value == ["[3]"]


def test_a_data_set_in_memory_is_saved_once(tmp_path: Path) -> None:
    for value in (rows(20), DatasetDict(train=rows(20), test=rows(6))):
        typed = adopt_request({"dataset": value}, tmp_path)["dataset"]
        assert adopt_request({"dataset": value}, tmp_path)["dataset"] == typed
        assert open_dataset(locations.locate(typed)).classes == 2


def test_a_name_of_the_hub_is_fetched_once_and_named_by_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopt_request({"dataset": "hf:owner/shapes"}, tmp_path)
    assert locations.locate("hf:owner/shapes") == "hf:shapes"
    assert open_dataset("hf:shapes").image_counts == {"train": 18, "validation": 2, "test": 6}
    monkeypatch.setattr(sys.modules["datasets"], "load_dataset", None)
    adopt_request({"dataset": "hf:owner/shapes"}, tmp_path)


def test_other_folders_and_names_are_refused(tmp_path: Path) -> None:
    assert usage_error(adopt_request, {"dataset": "hf:owner/none"}, tmp_path).kind is Kind.MISSING
    assert usage_error(HuggingFaceSet, str(tmp_path)).kind is Kind.DAMAGED
    assert usage_error(HuggingFaceSet, str(tmp_path / "none")).kind is Kind.MISSING


def test_the_library_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    error = usage_error(HuggingFaceSet, str(tmp_path))
    assert (error.kind, "capsbench[hf]" in str(error.expected)) == (Kind.MISSING, True)


def test_plain_requests_stay(tmp_path: Path) -> None:
    for request in ({}, {"dataset": None}, {"dataset": "digits,mnist"}, {"dataset": ["digits"]}):
        assert adopt_request(request, tmp_path) is request
    assert isinstance(adopt_request({"dataset": "folder:x"}, tmp_path), Mapping)
    assert not list(tmp_path.iterdir())
