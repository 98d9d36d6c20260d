import gzip
import os
import struct
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest

from capsbench.data.files import DataFile
from capsbench.data.formats.idx import FILES, IDXSet
from capsbench.data.formats.matlab_process import read_arrays

WriteIDX = Callable[[Path, Any], None]


@pytest.fixture(autouse=True)
def any_sum_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that tests make have other sums than the published ones; tests of the sums override this by a fixture of its name."""
    monkeypatch.setattr(DataFile, "check_content", lambda file, path: None)


@pytest.fixture
def write_idx() -> WriteIDX:
    """Writes an array of bytes in the published format, compressed if the name ends with .gz."""

    def write(path: Path, content: Any) -> None:
        array = np.asarray(content, dtype=np.uint8)
        header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb") as file:
            file.write(header + array.tobytes())

    return write


@pytest.fixture
def write_set(write_idx: WriteIDX, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes the four files of a small data set: 100 training images and 20 test images, each class equally often.

    All pixels of image i are i. Sets in MNIST's form are then as large as these, 20 images of them for validation.
    """
    monkeypatch.setattr(IDXSet, "counts", (100, 20))
    monkeypatch.setattr(IDXSet, "validation", 20)

    def write(raw: Path, suffix: str = "") -> None:
        for images, labels, count in ((*FILES[:2], 100), (*FILES[2:], 20)):
            write_idx(raw / f"{images}{suffix}", np.arange(count)[:, None, None] * np.ones((1, 28, 28)))
            write_idx(raw / f"{labels}{suffix}", np.arange(count) % 10)

    return write


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network."""

    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", refuse)


@pytest.fixture
def mnist_folder() -> Path:
    """The data folder of a machine that has MNIST."""
    folder = os.environ.get("CAPSBENCH_DATA")
    if not folder:
        pytest.skip("CAPSBENCH_DATA is not set: it names the folder that holds MNIST/raw")
    missing = [file for file in FILES if not Path(folder, "MNIST", "raw", file).is_file()]
    if missing:
        pytest.skip(f"CAPSBENCH_DATA holds no MNIST/raw/{missing[0]}")
    return Path(folder)


@pytest.fixture
def read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads whole MATLAB files in the process of the test: another one imports SciPy anew for each."""

    def read(path: Path, names: Sequence[str]) -> Mapping[str, Any]:
        return read_arrays(path, names)

    for name in ("svhn", "affnist"):
        monkeypatch.setattr(f"capsbench.data.sets.{name}.read_matlab", read)
