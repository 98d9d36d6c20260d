import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from capsbench.data.base import load_splits
from capsbench.data.sets.notmnist import BROKEN, NotMNIST, NotMNIST10k
from tests.data.conftest import WriteIDX
from tests.data.faults import damage, missing_file

pytestmark = pytest.mark.usefixtures("offline")

ARCHIVE, UNPACKED = "notMNIST/notMNIST_small.tar.gz", "notMNIST/notMNIST_small"
FILES = ("notMNIST/raw/t10k-images-idx3-ubyte.gz", "notMNIST/raw/t10k-labels-idx1-ubyte.gz")


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 letters, 4 of each."""
    for dataset in (NotMNIST, NotMNIST10k):
        monkeypatch.setattr(dataset, "count", 40)
    monkeypatch.setattr(NotMNIST, "validation", 10)
    monkeypatch.setattr(NotMNIST, "test", 20)


def pngs() -> dict[str, bytes]:
    """The publisher's files: a folder for each letter. All pixels of an image are ten times the letter's number plus its own."""
    files = {f"notMNIST_small/A/{BROKEN[0]}": b"", f"notMNIST_small/F/{BROKEN[1]}": b""}
    for label, letter in enumerate("ABCDEFGHIJ"):
        for number in range(4):
            content = BytesIO()
            Image.fromarray(np.full((28, 28), 10 * label + number, np.uint8)).save(content, "PNG")
            files[f"notMNIST_small/{letter}/font{number}.png"] = content.getvalue()
    return files


def write_archive(folder: Path) -> None:
    (folder / "notMNIST").mkdir()
    with tarfile.open(folder / ARCHIVE, "w:gz") as archive:
        for name, content in pngs().items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, BytesIO(content))


def write_unpacked(folder: Path) -> None:
    for name, content in pngs().items():
        path = folder / "notMNIST" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize("write", [write_archive, write_unpacked])
def test_each_letter_is_in_one_part_with_its_own_label(tmp_path: Path, write: Any) -> None:
    write(tmp_path)
    parts = load_splits("notmnist", tmp_path).by_name()
    assert {name: len(part.labels) for name, part in parts.items()} == NotMNIST().image_counts
    assert NotMNIST().image_counts == {"train": 10, "validation": 10, "test": 20}
    levels = [part.images.mul(255).round().long().flatten(1) for part in parts.values()]
    assert all((level == level[:, :1]).all() for level in levels)
    for level, part in zip(levels, parts.values(), strict=True):
        assert (level[:, 0] // 10).equal(part.labels)
        assert len(part.labels.unique()) == 10
    assert sorted(int(number) for level in levels for number in level[:, 0]) == [
        10 * label + number for label in range(10) for number in range(4)
    ]


def test_the_letters_in_the_format_of_mnist(tmp_path: Path, write_idx: WriteIDX) -> None:
    numbers = np.arange(40)
    write_idx(tmp_path / FILES[0], numbers[:, None, None] * np.ones((1, 28, 28)))
    write_idx(tmp_path / FILES[1], numbers % 10)
    parts = load_splits("notmnist-10k", tmp_path).by_name()
    assert {name: len(part.labels) for name, part in parts.items()} == {"train": 10, "validation": 10, "test": 20}
    for part in parts.values():
        assert (part.images[:, 0, 0, 0].mul(255).round().long() % 10).equal(part.labels)
    write_idx(tmp_path / FILES[1], numbers[:39] % 10)
    assert damage(NotMNIST10k().load, tmp_path) == (tmp_path / FILES[0], (40, 28, 28))


def test_a_letter_that_is_missing_or_of_no_class(tmp_path: Path) -> None:
    write_unpacked(tmp_path)
    folder = tmp_path / UNPACKED
    (folder / "C" / "font2.png").rename(folder / "font2.png")
    assert damage(NotMNIST().load, tmp_path) == (folder, -1)
    (folder / "font2.png").unlink()
    assert damage(NotMNIST().load, tmp_path) == (folder, 39)


def test_without_network_the_file_to_put_there_is_named(tmp_path: Path) -> None:
    assert missing_file(NotMNIST().load, tmp_path) == tmp_path / ARCHIVE
    assert missing_file(NotMNIST10k().load, tmp_path) == tmp_path / FILES[0]
