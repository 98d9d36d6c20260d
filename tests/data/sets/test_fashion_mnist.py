from collections.abc import Callable
from pathlib import Path

import pytest

from capsbench.data.base import load_splits
from tests.data.faults import missing_file

pytestmark = pytest.mark.usefixtures("offline")


def test_fashion_mnist_is_read_from_its_own_folder(tmp_path: Path, write_set: Callable[..., None]) -> None:
    write_set(tmp_path / "FashionMNIST" / "raw", suffix=".gz")
    assert len(load_splits("fashion-mnist", tmp_path).train.labels) == 80


def test_mnist_is_not_taken_for_fashion_mnist(tmp_path: Path, write_set: Callable[..., None]) -> None:
    write_set(tmp_path / "MNIST" / "raw")
    path = tmp_path / "FashionMNIST" / "raw" / "train-images-idx3-ubyte.gz"
    assert missing_file(load_splits, "fashion-mnist", tmp_path) == path
