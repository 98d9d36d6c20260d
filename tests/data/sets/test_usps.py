import bz2
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from capsbench.data.base import load_splits
from capsbench.data.formats.idx import IDXSet
from capsbench.data.sets.usps import USPS, MNISTToUSPS
from tests.data.faults import damage, missing_file

pytestmark = pytest.mark.usefixtures("offline")

NPZ, TRAIN, TEST = "usps.npz", "usps.bz2", "usps.t.bz2"

COUNTS = {"train": 40, "test": 20}


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 training images and 20 test images."""
    monkeypatch.setattr(USPS, "counts", tuple(COUNTS.values()))
    monkeypatch.setattr(USPS, "validation", 10)


def draw_levels(name: str) -> np.ndarray:
    """Values from 0 to 2000, as the npz file has them, of images whose digit is their number modulo 10."""
    return np.random.RandomState(COUNTS[name]).randint(0, 2001, (COUNTS[name], 16, 16)).astype(np.int16)


def draw_digits(name: str) -> np.ndarray:
    return (np.arange(COUNTS[name]) % 10).astype(np.uint8)


def write_npz(folder: Path, **changed: np.ndarray) -> None:
    arrays = {f"x_{name}": draw_levels(name) for name in COUNTS} | {f"y_{name}": draw_digits(name) for name in COUNTS}
    np.savez(folder / NPZ, **(arrays | changed))


def write_libsvm(folder: Path) -> None:
    """The publisher's files: a label from 1, then the values in [-1, 1]; libsvm leaves values of 0 out."""
    for file, name in ((TRAIN, "train"), (TEST, "test")):
        lines = []
        for levels, digit in zip(draw_levels(name), draw_digits(name), strict=True):
            values = levels.ravel().astype(int) - 1000
            pairs = [f"{place}:{value / 1000:g}" for place, value in enumerate(values, start=1) if value]
            lines.append(f"{digit + 1} {' '.join(pairs)} \n")
        (folder / file).write_bytes(bz2.compress("".join(lines).encode()))


def test_both_forms_have_the_same_images(tmp_path: Path) -> None:
    (tmp_path / "published").mkdir()
    write_libsvm(tmp_path / "published")
    write_npz(tmp_path)
    published, arrays = (load_splits("usps", folder).by_name() for folder in (tmp_path / "published", tmp_path))
    for name, part in published.items():
        assert part.images.equal(arrays[name].images)
        assert part.labels.equal(arrays[name].labels)
    assert published["test"].labels.tolist() == [*range(10)] * 2
    expected = torch.from_numpy(draw_levels("test")).float() / 2000
    torch.testing.assert_close(published["test"].images[:, 0], expected)
    assert [len(part.labels) for part in published.values()] == [30, 10, 20]


def test_the_published_files_are_those_of_torchvision() -> None:
    known = [(file, url, md5) for url, file, md5 in datasets.USPS.split_list.values()]
    assert [(file.path, file.url, file.md5) for file in USPS.files] == known


def test_without_network_the_file_to_put_there_is_named(tmp_path: Path) -> None:
    assert missing_file(USPS().load, tmp_path) == tmp_path / TRAIN


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    write_libsvm(tmp_path)
    path = tmp_path / TEST
    path.write_bytes(path.read_bytes()[:-20])
    assert damage(USPS().load, tmp_path) == (path, path.stat().st_size)


def test_the_test_set_in_the_place_of_the_training_set(tmp_path: Path) -> None:
    write_libsvm(tmp_path)
    (tmp_path / TRAIN).write_bytes((tmp_path / TEST).read_bytes())
    assert damage(USPS().load, tmp_path) == (tmp_path / TRAIN, 20)


def test_values_beyond_white(tmp_path: Path) -> None:
    levels = draw_levels("train")
    levels[3, 4, 5] = 2001
    write_npz(tmp_path, x_train=levels)
    assert damage(USPS().load, tmp_path) == (tmp_path / NPZ, "0 to 2001")


@pytest.fixture
def both(tmp_path: Path, write_set) -> Path:
    """A data folder with MNIST and USPS."""
    write_set(tmp_path / "MNIST" / "raw")
    write_npz(tmp_path)
    return tmp_path


def test_a_network_of_mnist_is_tested_on_usps(both: Path) -> None:
    splits, mnist = load_splits("mnist-to-usps", both), load_splits("mnist", both)
    assert splits.train.images.equal(mnist.train.images)
    assert splits.validation.images.equal(mnist.validation.images)
    assert splits.beside["clean"].images.equal(mnist.test.images)
    assert splits.test.labels.equal(load_splits("usps", both).test.labels)
    counts = {name: len(part.labels) for name, part in splits.by_name().items()}
    assert counts == MNISTToUSPS().image_counts == {"train": 80, "validation": 20, "test": 20, "clean": 20}
    assert IDXSet.counts == (100, 20)


def test_a_digit_of_usps_fills_the_box_of_a_digit_of_mnist(both: Path) -> None:
    write_npz(both, x_test=np.full((20, 16, 16), 2000, np.int16))
    test = load_splits("mnist-to-usps", both).test.images
    box = torch.zeros(28, 28)
    box[4:24, 4:24] = 1
    assert (test == box).all()
