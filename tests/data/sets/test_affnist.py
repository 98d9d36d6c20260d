import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from capsbench.data.base import Dataset
from capsbench.data.images import Images, ImageShape, Splits
from capsbench.data.sets.affnist import TEST, AffNIST, AffNISTFull, read_affnist
from capsbench.data.sets.mnist import MNIST
from capsbench.errors import Kind
from tests.data.faults import damage, usage_error

COUNT = 60  # three versions of each of 20 test images


class Small(Dataset):
    """MNIST's form, 20 images in each part."""

    image = ImageShape(1, 28, 28)
    classes = 10

    def load(self, folder: Path) -> Splits:
        part = Images(torch.ones(20, 1, 28, 28), torch.arange(20) % 10)
        return Splits(part, part, part)


class SmallAffNIST(AffNIST):
    base = Small
    size = 20


class SmallAffNISTFull(SmallAffNIST):
    size = AffNISTFull.size


def pixels() -> np.ndarray[Any, Any]:
    """Images ``[COUNT, 40, 40]``: image i has i + 1 in row 2, column 7."""
    images = np.zeros((COUNT, 40, 40), np.uint8)
    images[:, 2, 7] = np.arange(COUNT) + 1
    return images


def write(path: Path, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
    """A file as affNIST has them: one column an image, which runs along its rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    struct = {
        "affine_transform_matrix": np.zeros((9, len(labels))),
        "image": images.reshape(len(images), -1).T,
        "label_int": labels[None, :].astype(np.uint8),
        "label_one_of_n": np.eye(10, dtype=np.uint8)[labels].T,
        "human_readable_transform": np.zeros((6, len(labels))),
    }
    savemat(path.with_suffix("") if path.suffix == ".zip" else path, {"affNISTdata": struct})
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path.with_suffix(""), path.stem)
        path.with_suffix("").unlink()


LABELS = np.arange(COUNT) * 3 % 10


@pytest.mark.parametrize("name", ["test.mat", "test.mat.zip"])
def test_the_archive_and_what_it_holds_are_read(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, pixels(), LABELS)
    images, labels = read_affnist(tmp_path / name)
    assert images.dtype == torch.uint8
    assert images.shape == (COUNT, 1, 40, 40)
    assert images[:, 0].numpy().tolist() == pixels().tolist()
    assert labels.tolist() == LABELS.tolist()


@pytest.mark.usefixtures("read_here")
def test_some_of_the_images_are_drawn_each_class_in_its_proportion(tmp_path: Path) -> None:
    write(tmp_path / TEST.path, pixels(), LABELS)
    test = SmallAffNIST().load(tmp_path).test
    assert test.images.shape == (20, 1, 40, 40)
    assert test.labels.bincount().tolist() == [2] * 10
    numbers = (test.images[:, 0, 2, 7] * 255).round().long() - 1
    assert len(numbers.unique()) == 20
    assert (numbers * 3 % 10).equal(test.labels)
    assert test.images.equal(SmallAffNIST().load(tmp_path).test.images)


@pytest.mark.usefixtures("read_here")
def test_a_file_of_other_digits_than_the_test_images_is_told(tmp_path: Path) -> None:
    """Such as affNIST's training images, which would leak into the test."""
    write(tmp_path / TEST.path, pixels(), np.minimum(LABELS, 8))
    assert damage(SmallAffNIST().load, tmp_path) == (tmp_path / TEST.path, COUNT)


@pytest.mark.usefixtures("read_here")
def test_the_full_set_has_all_of_them_in_their_order(tmp_path: Path) -> None:
    write(tmp_path / TEST.path, pixels(), LABELS)
    test = SmallAffNISTFull().load(tmp_path).test
    torch.testing.assert_close(test.images[:, 0, 2, 7], (torch.arange(COUNT) + 1) / 255)
    assert test.images.dtype == torch.float32


@pytest.mark.usefixtures("read_here")
def test_the_rest_is_mnist_at_random_places(tmp_path: Path) -> None:
    write(tmp_path / TEST.path, pixels(), LABELS)
    splits = SmallAffNIST().load(tmp_path)
    assert splits.train.images.shape == (20, 1, 40, 40)
    assert (splits.validation.images.sum(dim=(1, 2, 3)) == 784).all()
    assert (splits.beside["clean"].images.sum(dim=(1, 2, 3)) == 784).all()


def test_it_needs_mnists_files_and_one_of_its_own() -> None:
    assert AffNIST.image == AffNISTFull.image == (1, 40, 40)
    assert AffNIST.files == AffNISTFull.files == (*MNIST.files, TEST)
    assert AffNIST.shift == 6


@pytest.mark.parametrize("keep", [0, 40, 1000, -20])
@pytest.mark.parametrize("name", ["test.mat", "test.mat.zip"])
def test_a_damaged_file(tmp_path: Path, name: str, keep: int) -> None:
    write(tmp_path / name, np.random.RandomState(0).randint(0, 255, (COUNT, 40, 40)).astype(np.uint8), LABELS)
    content = (tmp_path / name).read_bytes()[:keep]
    (tmp_path / name).write_bytes(content)
    assert damage(read_affnist, tmp_path / name) == (tmp_path / name, len(content))


def test_an_archive_whose_bytes_were_changed(tmp_path: Path) -> None:
    path = tmp_path / "test.mat.zip"
    write(path, pixels(), LABELS)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert damage(read_affnist, path) == (path, len(content))


def test_another_matlab_file(tmp_path: Path) -> None:
    path = tmp_path / "test.mat"
    savemat(path, {"X": np.zeros(3)})
    error = usage_error(read_affnist, path)
    assert (error.kind, error.file) == (Kind.DAMAGED, path)
    assert "affNISTdata" in error.problem


@pytest.mark.usefixtures("read_here")
def test_images_of_another_size(tmp_path: Path) -> None:
    path = tmp_path / "test.mat"
    write(path, np.ones((COUNT, 28, 28), np.uint8), LABELS)
    assert damage(read_affnist, path) == (path, (28 * 28, COUNT))


@pytest.mark.usefixtures("read_here")
def test_labels_that_are_no_digits(tmp_path: Path) -> None:
    path = tmp_path / "test.mat"
    images = pixels().reshape(COUNT, -1).T
    savemat(path, {"affNISTdata": {"image": images, "label_int": (np.arange(COUNT) % 11)[None].astype(np.uint8)}})
    assert damage(read_affnist, path) == (path, 10)


@pytest.mark.usefixtures("read_here")
def test_the_centred_digits_are_not_taken_for_the_transformed_ones(tmp_path: Path) -> None:
    path = tmp_path / "test.mat"
    centred = np.zeros((COUNT, 40, 40), np.uint8)
    centred[:, 6:-6, 6:-6] = 200
    write(path, centred, LABELS)
    error = usage_error(read_affnist, path)
    assert (error.kind, error.file) == (Kind.DAMAGED, path)
    assert "transformed/" in str(error.expected)
