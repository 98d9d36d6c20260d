"""Errors name what failed: the data folder, or the data set. `test_named.py` reads data sets that are whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from capsbench.data.own import hugging_face
from capsbench.data.own.hugging_face import fetch_from_hub, save_dataset
from capsbench.errors import Kind
from tests.data.faults import usage_error


def make_error(number: int, file: Path | None = None) -> OSError:
    return OSError(number, os.strerror(number), *([] if file is None else [str(file)]))


class Unsavable:
    """A data set whose saving fails after its first file."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def save_to_disk(self, folder: str) -> None:
        Path(folder).mkdir()
        (Path(folder) / "first").touch()
        raise self.error


@pytest.mark.parametrize(
    "error", [make_error(errno.ENOENT, Path("lost/a.png")), ValueError("a column of two types"), SystemExit(1)]
)
def test_a_data_set_that_cannot_be_saved_is_named_with_the_reason(error: Any, tmp_path: Path) -> None:
    fault = usage_error(save_dataset, Unsavable(error), tmp_path)
    assert (fault.kind, fault.flag, fault.value) == (Kind.DAMAGED, "dataset", "Unsavable")
    if not isinstance(error, SystemExit):
        assert str(error) in fault.problem
    assert list((tmp_path / "own" / "hf").iterdir()) == []


def test_a_data_folder_that_is_full_is_named(tmp_path: Path) -> None:
    fault = usage_error(save_dataset, Unsavable(make_error(errno.ENOSPC)), tmp_path)
    assert (fault.kind, fault.flag, fault.file) == (Kind.INACCESSIBLE, "data_dir", tmp_path / "own" / "hf")


def test_a_data_folder_that_refuses_a_file_is_named(tmp_path: Path) -> None:
    class Refused:
        def save_to_disk(self, folder: str) -> None:
            raise make_error(errno.EACCES, Path(folder) / "table.arrow")

    fault = usage_error(save_dataset, Refused(), tmp_path)
    assert (fault.kind, fault.flag, fault.file) == (Kind.INACCESSIBLE, "data_dir", tmp_path / "own" / "hf")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (make_error(errno.ENOSPC, Path("cache")), Kind.INACCESSIBLE),
        (make_error(errno.EACCES, Path("cache")), Kind.INACCESSIBLE),
        (FileNotFoundError("no such data set on the hub"), Kind.MISSING),
        (ConnectionError("the hub cannot be reached"), Kind.MISSING),
    ],
)
def test_a_fetch_that_the_system_stops_is_not_taken_for_an_unknown_name(
    error: OSError, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_dataset(name: str, cache_dir: str) -> None:
        raise error

    monkeypatch.setattr(hugging_face, "import_datasets", lambda: SimpleNamespace(load_dataset=load_dataset))
    fault = usage_error(fetch_from_hub, "owner/shapes", tmp_path)
    assert (fault.kind, fault.flag, fault.value) == (kind, "dataset", "hf:owner/shapes")
    assert str(error) in fault.problem
