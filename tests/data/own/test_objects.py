"""Images in memory are written once, and read again as they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset
from torchvision.datasets import FakeData
from torchvision.transforms import RandomCrop

from capsbench.data.images import ANY_NUMBER
from capsbench.data.own.npz import NpzSet
from capsbench.data.own.objects import adopt_datasets, is_object, write_object
from capsbench.errors import Kind
from tests.data.faults import usage_error

LABELS = np.arange(20) % 2
GREY = (np.arange(20, dtype=np.uint8)[:, None, None] * np.ones((1, 6, 5), np.uint8)).astype(np.uint8)


class Photos:
    """A data set like those of torchvision, with images of several sizes."""

    classes = ["bar", "ring"]

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.new("RGB", (5 + index % 2, 6), (index, 0, 0)), index % 2


def read(value: Any, folder: Path, **options: Any) -> NpzSet:
    scheme, _, path = write_object(value, folder).partition(":")
    assert scheme == "npz"
    return NpzSet(path, **options)


@pytest.mark.parametrize(
    "pair",
    [
        (GREY, LABELS),
        [GREY, LABELS],
        (torch.tensor(GREY), torch.tensor(LABELS)),
        TensorDataset(torch.tensor(GREY), torch.tensor(LABELS)),
        (list(GREY), LABELS.tolist()),
        [[Image.fromarray(image) for image in GREY], [str(label) for label in LABELS]],
        [(Image.fromarray(image), int(label)) for image, label in zip(GREY, LABELS, strict=True)],
    ],
)
def test_a_pair_of_arrays_is_written_once(tmp_path: Path, pair: Any) -> None:
    shapes = read(pair, tmp_path)
    assert shapes.image_counts == {"train": 14, "validation": 2, "test": 4}
    assert shapes.image == (1, 6, 5)
    before = shapes.path.stat()
    assert write_object(pair, tmp_path) == f"npz:{shapes.path}"
    assert shapes.path.stat() == before
    assert shapes.path.parent == tmp_path / "own"


def test_a_data_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # as root, no folder refuses a file
    pair = np.zeros((6, 4, 4), dtype=np.uint8), [0, 1] * 3
    error = usage_error(write_object, pair, tmp_path / "file")
    assert (error.kind, error.flag) == (Kind.INACCESSIBLE, "data_dir")
    assert error.file is not None
    assert error.file.is_relative_to(tmp_path / "file")


def test_other_images_are_another_file(tmp_path: Path) -> None:
    assert write_object((GREY, LABELS), tmp_path) != write_object((GREY + 1, LABELS), tmp_path)
    assert write_object((GREY, LABELS), tmp_path) != write_object((GREY, 1 - LABELS), tmp_path)


@pytest.mark.parametrize(
    "parts",
    [
        {"train": (GREY, LABELS), "val": (GREY[:4], LABELS[:4]), "test": (GREY[:6], LABELS[:6])},
        ((GREY, LABELS), (GREY[:6], LABELS[:6])),
    ],
)
def test_parts_are_a_mapping_or_a_pair_of_pairs(tmp_path: Path, parts: Any) -> None:
    assert read(parts, tmp_path).image_counts["test"] == 6


def test_a_data_set_of_torchvision_is_read_with_its_class_names(tmp_path: Path) -> None:
    data = FakeData(size=20, image_size=(3, 8, 6), num_classes=2)
    shapes = read({"train": data, "test": data}, tmp_path)
    assert shapes.path.name.startswith("FakeData-")
    assert shapes.image == (3, 8, 6)
    images = shapes.load(tmp_path).test.images
    assert (images[3].numpy() * 255).round().astype(np.uint8).transpose(1, 2, 0).tolist() == np.array(
        data[3][0]
    ).tolist()
    subset = Subset(Photos(), range(12))  # type: ignore[arg-type, var-annotated]
    assert read(subset, tmp_path, resize="6x5").class_names == ["bar", "ring"]


class Named(list[Any]):
    """Pairs of an image and a label, and names of the classes, as a folder of torchvision has them."""

    def __init__(self, pairs: Any, classes: list[str]) -> None:
        super().__init__(pairs)
        self.classes = classes


def test_parts_that_number_other_classes_keep_the_names_of_their_labels(tmp_path: Path) -> None:
    train = Named(zip(GREY, np.arange(20) % 3, strict=True), ["bar", "cross", "ring"])
    test = Named([(GREY[0], 0), (GREY[1], 1)], ["bar", "ring"])
    labels = [picture.labels[0] for picture in read({"train": train, "test": test}, tmp_path).pictures]
    assert labels[:3] == ["bar", "cross", "ring"]
    assert labels[20:] == ["bar", "ring"]
    assert "star" in usage_error(read, {"train": train, "test": Named([(GREY[0], 0)], ["star"])}, tmp_path).problem


def test_parts_that_number_other_classes_keep_the_names_of_their_columns(tmp_path: Path) -> None:
    masks = np.eye(3, dtype=bool)[np.arange(20) % 3], np.eye(2, dtype=bool)
    names = ["bar", "cross", "ring"], ["bar", "ring"]
    train, test = (Named(zip(GREY, mask, strict=False), classes) for mask, classes in zip(masks, names, strict=True))
    assert read({"train": train, "test": test}, tmp_path).pictures[21].labels == ["ring"]


def test_images_of_several_sizes_are_kept_until_they_get_one(tmp_path: Path) -> None:
    assert usage_error(lambda: read(Photos(), tmp_path).image).flag == "resize"
    shapes = read(Photos(), tmp_path, resize="6x5")
    assert shapes.image == (3, 6, 5)
    part = shapes.load(tmp_path).train
    assert ((part.images[:, 0, 0, 0] * 255).round().long() % 2).equal(part.labels)


def test_random_transforms_are_refused(tmp_path: Path) -> None:
    data = FakeData(size=20, image_size=(3, 8, 6), num_classes=2, transform=RandomCrop(4))
    assert usage_error(write_object, data, tmp_path).kind is Kind.CONFLICT


@pytest.mark.parametrize(
    "value", [7, [1, 2], {"other": (GREY, LABELS)}, {"train": 7}, {1: 2}, [GREY], lambda: GREY, b"x", (1, 2, 3)]
)
def test_anything_else_is_refused(tmp_path: Path, value: Any) -> None:
    error = usage_error(write_object, value, tmp_path)
    assert error.flag == "dataset"


def test_names_stay_and_an_axis_may_have_objects(tmp_path: Path) -> None:
    assert not is_object("digits")
    assert not is_object(["digits", "mnist"])
    assert not is_object(None)
    assert adopt_datasets("digits", tmp_path) == "digits"
    assert adopt_datasets(["digits", "mnist"], tmp_path) == ["digits", "mnist"]
    name, other = adopt_datasets(["digits", (list(GREY), LABELS)], tmp_path)
    assert name == "digits"
    assert Path(other.removeprefix("npz:")).is_file()


MASK = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]])[np.arange(20) % 4]


@pytest.mark.parametrize(
    "pair",
    [
        (GREY, MASK),
        (torch.tensor(GREY), torch.tensor(MASK).float()),
        (list(GREY), MASK),
        TensorDataset(torch.tensor(GREY), torch.tensor(MASK)),
        [(Image.fromarray(image), torch.tensor(mask)) for image, mask in zip(GREY, MASK, strict=True)],
    ],
)
def test_targets_of_0_and_1_are_any_number_of_classes(tmp_path: Path, pair: Any) -> None:
    shapes = read(pair, tmp_path)
    assert (shapes.labels_an_image, shapes.class_names) == (ANY_NUMBER, ["0", "1", "2"])
    images, labels = shapes.load(tmp_path).test
    assert labels.tolist() == (MASK[(images[:, 0, 0, 0] * 255).round().long().numpy()] == 1).tolist()


class Tagged:
    """A data set of PyTorch whose targets are vectors of 0 and 1."""

    classes = ["a", "b", "c"]

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor(GREY[index]), torch.tensor(MASK[index])


def test_targets_of_0_and_1_have_the_names_of_their_data_set(tmp_path: Path) -> None:
    assert read(Tagged(), tmp_path).class_names == ["a", "b", "c"]


def test_targets_of_several_lengths_are_refused(tmp_path: Path) -> None:
    pairs = [(image, np.zeros(2 + place % 2)) for place, image in enumerate(GREY)]
    assert usage_error(write_object, pairs, tmp_path).kind is Kind.INVALID
