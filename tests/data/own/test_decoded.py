"""A user's own images are decoded once into a file of the data folder, which is made anew whenever it is not whole."""

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from capsbench.data.images import Splits
from capsbench.data.own import base, decoded
from capsbench.data.own.folder import FolderSet
from capsbench.data.stored import StoredImages
from capsbench.errors import Kind
from tests.data.faults import usage_error
from tests.data.own.conftest import PutImages


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The files that were decoded, in order."""
    files: list[object] = []
    decode = base.decode_file
    monkeypatch.setattr(base, "decode_file", lambda file: (files.append(file), decode(file))[1])
    return files


def load(path: Path, folder: Path, **options: Any) -> Splits:
    return FolderSet(str(path), **options).load(folder)


def list_files(folder: Path) -> list[Path]:
    return sorted((folder / decoded.FOLDER).iterdir())


def is_same(first: Splits, second: Splits) -> bool:
    parts = second.by_name()
    return all(torch.equal(images.images, parts[part].images) for part, images in first.by_name().items())


def test_a_second_loading_decodes_nothing(put_images: PutImages, tmp_path: Path, decodings: list[object]) -> None:
    path = put_images()
    first = load(path, tmp_path / "data")
    assert len(decodings) == 20
    second = load(path, tmp_path / "data", split_seed=3)  # another split of the same pixels
    assert len(decodings) == 20
    assert len(list_files(tmp_path / "data")) == 1
    assert isinstance(second.train.images, StoredImages)
    assert second.train.images.levels.dtype == torch.uint8
    assert is_same(first, load(path, tmp_path / "data"))


def test_other_images_and_sizes_have_other_files(put_images: PutImages, tmp_path: Path) -> None:
    path = put_images()
    load(path, tmp_path)
    load(path, tmp_path, resize="3x3")
    load(path, tmp_path, crop="3")
    Image.new("L", (5, 6), 200).save(path / "bar" / "000.png")
    changed = load(path, tmp_path)
    assert len(list_files(tmp_path)) == 4
    assert max(float(part.images.max()) for part in changed.by_name().values()) == np.float32(200) / np.float32(255)


@pytest.mark.parametrize("damage", ["cut off", "changed", "longer", "empty"])
def test_a_file_that_is_not_whole_is_made_anew(
    put_images: PutImages, tmp_path: Path, decodings: list[object], damage: str
) -> None:
    path = put_images()
    first = load(path, tmp_path)
    (file,) = list_files(tmp_path)
    whole = file.read_bytes()
    file.unlink()  # whose pages `first` may still read
    damaged = {
        "cut off": whole[:-5],
        "changed": whole[:200] + bytes([whole[200] ^ 1]) + whole[201:],
        "longer": whole + b"0",
        "empty": b"",
    }
    file.write_bytes(damaged[damage])
    assert is_same(first, load(path, tmp_path))
    assert len(decodings) == 40
    assert file.read_bytes() == whole


def test_pixels_of_more_than_8_bits_are_kept_as_floats(put_images: PutImages, tmp_path: Path) -> None:
    path = put_images()
    Image.fromarray(np.full((6, 5), 40000, dtype=np.uint16)).save(path / "ring" / "009.png")
    splits = load(path, tmp_path)
    assert splits.test.images.levels.dtype == torch.float32
    pixels = {float(image.max()) for part in splits.by_name().values() for image in part.images}
    expected = {np.float32(number) / np.float32(255) for number in range(10)} | {np.float32(40000) / np.float32(65535)}
    assert pixels == {float(value) for value in expected}


def test_a_full_disk_is_one_line_and_leaves_no_file(
    put_images: PutImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(decoded, "_write_levels", fill)
    error = usage_error(load, put_images(), tmp_path)
    assert (error.kind, error.file) == (Kind.INACCESSIBLE, tmp_path / decoded.FOLDER)
    assert "No space left" in error.problem
    assert str(error.expected).startswith("600 bytes ")  # 20 images of 6x5 pixels
    assert list_files(tmp_path) == []


def test_a_data_folder_that_cannot_be_written_to_is_done_without(put_images: PutImages, tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # as root, no folder refuses a file
    path = put_images()
    assert is_same(load(path, tmp_path / "file"), load(path, tmp_path))


def test_unreadable_images_leave_no_file(put_images: PutImages, tmp_path: Path) -> None:
    path = put_images()
    whole = (path / "bar" / "001.png").read_bytes()
    (path / "bar" / "001.png").write_bytes(whole[:-40])
    assert usage_error(load, path, tmp_path).value == ["bar/001.png"]
    assert list_files(tmp_path) == []


def test_bytes_that_do_not_suffice_are_replaced_by_floats() -> None:
    def decode(dtype: np.dtype[Any]) -> Iterator[Any]:
        yield np.full((1, 1, 2), 1, dtype)
        if dtype == np.uint8:
            raise decoded.DeeperError
        yield np.full((1, 1, 2), 0.5, dtype)

    file = io.BytesIO()
    decoded._write_levels(file, (2, 1, 1, 2), decode)
    file.seek(0)
    assert np.load(file).tolist() == [[[[1.0, 1.0]]], [[[0.5, 0.5]]]]


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EROFS])
def test_a_file_that_cannot_be_deleted_is_told_and_the_others_are(
    put_images: PutImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    load(put_images(), tmp_path)
    load(put_images("others"), tmp_path)
    first, second = sorted(list_files(tmp_path))
    unlink = Path.unlink

    def refuse(path: Path, **how: Any) -> None:
        if path == first:
            raise OSError(reason, os.strerror(reason))
        unlink(path, **how)

    monkeypatch.setattr(Path, "unlink", refuse)
    error = usage_error(lambda: decoded.clean_decoded(tmp_path, yes=True))
    assert (error.kind, error.flag, error.file) == (Kind.INACCESSIBLE, "data_dir", first.parent)
    assert "1 of 2 files" in error.problem
    assert list_files(tmp_path) == [first]
    assert second != first


def test_decoded_images_are_listed_and_deleted_with_yes(put_images: PutImages, tmp_path: Path) -> None:
    path, data = put_images(), tmp_path / "data"
    first = load(path, data)
    (file,) = list_files(data)
    (data / decoded.FOLDER / "notes.txt").write_text("not ours")
    listed = {file: file.stat().st_size}
    assert decoded.clean_decoded(data) == listed
    assert file.exists()
    assert decoded.clean_decoded(data, yes=True) == listed
    assert [path.name for path in list_files(data)] == ["notes.txt"]
    assert decoded.clean_decoded(data, yes=True) == {}
    again = load(path, data)  # beside the first, whose file is still mapped
    assert is_same(first, again)
    assert file.exists()


def test_a_file_that_is_deleted_before_it_is_read_is_done_without(
    put_images: PutImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_images()
    whole = load(path, tmp_path / "data")
    replace = decoded.replace_file

    @contextmanager
    def replace_and_delete(path: Path) -> Iterator[Path]:
        with replace(path) as temporary:
            yield temporary
        path.unlink()

    monkeypatch.setattr(decoded, "replace_file", replace_and_delete)
    assert is_same(whole, load(path, tmp_path / "elsewhere"))
    assert list_files(tmp_path / "elsewhere") == []
