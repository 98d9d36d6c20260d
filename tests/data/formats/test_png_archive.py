import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from capsbench.data.formats import png_archive
from capsbench.data.formats.png_archive import read_grey_pngs, read_members
from tests.data.faults import damage


def encode(pixels: np.ndarray) -> bytes:
    content = BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


GREY, INK = np.arange(9, dtype=np.uint8).reshape(3, 3), np.eye(3, dtype=bool)
FILES = {"set/b/2.png": encode(INK), "set/a/1.png": encode(GREY), "set/about.txt": b"text"}


def write_zip(folder: Path, files: dict[str, bytes]) -> Path:
    with ZipFile(folder / "set.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return folder / "set.zip"


def write_tar(folder: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(folder / "set.tar.gz", "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    return folder / "set.tar.gz"


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


Write = Callable[[Path, dict[str, bytes]], Path]
every_form = pytest.mark.parametrize("write", [write_zip, write_tar, write_folder])


@every_form
def test_images_are_read_by_their_paths_in_order(tmp_path: Path, write: Write) -> None:
    images = read_grey_pngs(write(tmp_path, FILES), side=3)
    assert list(images) == ["set/a/1.png", "set/b/2.png"]
    assert images["set/a/1.png"].tolist() == GREY.tolist()
    assert images["set/b/2.png"].tolist() == (INK * 255).tolist()


@every_form
def test_other_files_are_read_by_their_ending(tmp_path: Path, write: Write) -> None:
    assert list(read_members(write(tmp_path, FILES), "about.txt")) == [("set/about.txt", b"text")]


@every_form
def test_an_image_of_another_size_or_of_none_is_named(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, FILES)
    assert damage(read_grey_pngs, path, 4) == (path, "set/a/1.png")
    path = write(tmp_path, FILES | {"set/a/1.png": b"no image"})
    assert damage(read_grey_pngs, path, 3) == (path, "set/a/1.png")
    assert list(read_grey_pngs(path, 3, left_out=["1.png"])) == ["set/b/2.png"]


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_a_truncated_archive_is_named(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, FILES)
    path.write_bytes(path.read_bytes()[:-200])
    assert damage(read_grey_pngs, path, 3) == (path, path.stat().st_size)


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_an_archive_that_holds_more_than_any_published_one(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, FILES)
    monkeypatch.setattr(png_archive, "LARGEST", 100)
    assert damage(read_grey_pngs, path, 3) == (path, path.stat().st_size)
