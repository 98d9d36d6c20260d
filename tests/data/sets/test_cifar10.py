import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import datasets

from capsbench.data.augment import Crop, Flip
from capsbench.data.base import load_splits
from capsbench.data.sets import cifar10
from capsbench.data.sets.cifar10 import CIFAR10, CIFAR10Patches
from tests.data.faults import damage, missing_file, usage_error

NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
ITSELF = [*(f"training batch {number} of 5" for number in range(1, 6)), "testing batch 1 of 1"]

pytestmark = pytest.mark.usefixtures("offline")


def python2(value: Any) -> bytes:
    """What Python 2 and the NumPy of its time pickle a value to (protocol 2), as in the published files."""
    if isinstance(value, str):
        text = value.encode()
        return (b"U" + struct.pack("<B", len(text)) if len(text) < 256 else b"T" + struct.pack("<i", len(text))) + text
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"K" + struct.pack("<B", value) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(python2, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(python2(part) for item in value.items() for part in item) + b"u"
    assert isinstance(value, np.ndarray)
    dtype = b"cnumpy\ndtype\n" + python2(value.dtype.str[1:]) + b"K\0K\1\x87R(K\3U\1|NNN" + python2(-1) * 2 + b"K\0tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R"
    shape = b"(" + b"".join(map(python2, value.shape)) + b"t"
    return empty + b"(K\1" + shape + dtype + b"\x89" + python2(value.tobytes()) + b"tb"


def batch(number: int, **changed: Any) -> dict[str, Any]:
    """File ``number`` of 0 to 5. All values of channel c of its image i are 20 x number + i + c, the first of all is 7."""
    images = np.arange(20)[:, None, None] + 20 * number + np.arange(3)[:, None]
    data = np.broadcast_to(images, (20, 3, 1024)).reshape(20, 3072).astype(np.uint8)
    data[0, 0] = 7
    names = [f"{index:06}.png" for index in range(20)]
    return {
        "batch_label": ITSELF[number],
        "labels": [i % 10 for i in range(20)],
        "data": data,
        "filenames": names,
    } | changed


def content(number: int, **changed: Any) -> bytes:
    return b"\x80\2" + python2(batch(number, **changed)) + b"."


Files = dict[str, bytes]
Write = Callable[[Path, Files], Path]
Publish = Callable[..., Files]


def unpacked(folder: Path, files: Files) -> Path:
    """Lays the files out as torchvision leaves them, and gives their folder."""
    inside = folder / "cifar-10-batches-py"
    inside.mkdir(parents=True)
    for name, written in files.items():
        (inside / name).write_bytes(written)
    return inside


def archived(folder: Path, files: Files) -> Path:
    """Packs the files as published, and gives the archive."""
    path = folder / "cifar-10-python.tar.gz"
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, written in {"readme.html": b"<html>", **files}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(written)
            archive.addfile(member, io.BytesIO(written))
    return path


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Makes six files of 20 images each the published ones, with the one that names the classes, in the archive's order."""

    def whole(**changed: bytes) -> Files:
        files = {name: content(number) for number, name in enumerate(NAMES)} | changed
        sums = {name: hashlib.md5(written).hexdigest() for name, written in files.items()}
        monkeypatch.setattr(cifar10, "BATCHES", sums)
        monkeypatch.setattr(cifar10.CIFAR10, "validation", 20)
        order = [
            "batches.meta",
            "data_batch_4",
            "data_batch_2",
            "test_batch",
            "data_batch_3",
            "data_batch_5",
            "data_batch_1",
        ]
        return {name: files.get(name, b"names") for name in order}

    return whole


def test_the_sums_are_those_that_torchvision_has() -> None:
    assert [
        [name, md5] for name, md5 in cifar10.BATCHES.items()
    ] == datasets.CIFAR10.train_list + datasets.CIFAR10.test_list


@pytest.mark.parametrize("write", [unpacked, archived])
def test_images_are_read_from_the_archive_or_unpacked(tmp_path: Path, publish: Publish, write: Write) -> None:
    write(tmp_path, publish())
    splits = load_splits("cifar10", tmp_path)
    assert {name: tuple(part.images.shape) for name, part in splits.by_name().items()} == {
        "train": (80, 3, 32, 32),
        "validation": (20, 3, 32, 32),
        "test": (20, 3, 32, 32),
    }
    test = splits.test.images.mul(255).round()
    assert test[:, :, 31, 31].tolist() == [[100.0 + i, 101.0 + i, 102.0 + i] for i in range(20)]
    assert test[0, 0, 0].tolist() == [7.0, *[100.0] * 31]
    numbers = torch.cat([splits.train.images, splits.validation.images])[:, 0, 31, 31].mul(255).round().long()
    assert sorted(numbers.tolist()) == list(range(100))
    assert (numbers % 10).equal(torch.cat([splits.train.labels, splits.validation.labels]))
    assert splits.validation.labels.bincount().tolist() == [2] * 10


def test_colours_are_in_the_order_red_green_blue_and_pixels_row_by_row(tmp_path: Path, publish: Publish) -> None:
    data = np.zeros((20, 3072), np.uint8)
    data[4, 2 * 1024 + 5 * 32 + 9] = 255  # blue, row 5, column 9
    unpacked(tmp_path, publish(test_batch=content(5, data=data)))
    assert CIFAR10().load(tmp_path).test.images.nonzero().tolist() == [[4, 2, 5, 9]]


def test_training_images_are_shifted_and_mirrored(tmp_path: Path, publish: Publish) -> None:
    unpacked(tmp_path, publish())
    (flip,) = CIFAR10().load(tmp_path).augmentations
    assert isinstance(flip, Flip)
    assert CIFAR10.shift == 4


def test_patches_are_24_pixels_high_and_wide(tmp_path: Path, publish: Publish) -> None:
    data = np.zeros((20, 3, 32, 32), np.uint8)
    data[0, :, 4, 27] = 255  # the upper right corner of the middle
    unpacked(tmp_path, publish(test_batch=content(5, data=data.reshape(20, 3072))))
    splits = load_splits("cifar10-24", tmp_path)
    assert splits.train.images.shape == (80, 3, 32, 32)
    assert splits.validation.images.shape == (20, 3, 24, 24)
    assert splits.test.images.nonzero().tolist() == [[0, colour, 0, 23] for colour in range(3)]
    crop, flip = splits.augmentations
    assert isinstance(crop, Crop)
    assert (crop.height, crop.width) == (24, 24)
    assert isinstance(flip, Flip)
    assert CIFAR10Patches.shift == 0


def test_nothing_is_unpacked_or_written(tmp_path: Path, publish: Publish) -> None:
    path = archived(tmp_path, publish())
    os.utime(path, (0, 0))
    CIFAR10().load(tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mtime == 0


@pytest.mark.parametrize("name", ["../../evil", "/tmp/../evil", "../cifar-10-batches-py/data_batch_1"])
def test_names_that_lead_out_of_an_archive_lead_nowhere(tmp_path: Path, publish: Publish, name: str) -> None:
    path = archived(tmp_path / "in", publish() | {f"../{name}": b"evil"})
    CIFAR10().load(tmp_path / "in")
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [path]


def test_an_archive_of_more_than_is_published_is_not_read_on(
    tmp_path: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archived(tmp_path, publish() | {"more": bytes(2**24)})
    CIFAR10().load(tmp_path)
    monkeypatch.setattr(cifar10, "LARGEST", 2**23)
    assert damage(CIFAR10().load, tmp_path) == (path, path.stat().st_size)


def test_an_archive_that_was_decompressed_is_read_too(tmp_path: Path, publish: Publish) -> None:
    path = archived(tmp_path, publish())
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()
    assert len(CIFAR10().load(tmp_path).test.labels) == 20


def test_half_a_folder_does_not_count(tmp_path: Path, publish: Publish) -> None:
    (unpacked(tmp_path, publish()) / "data_batch_3").unlink()
    assert missing_file(CIFAR10().load, tmp_path) == tmp_path / "cifar-10-python.tar.gz"


def changed(content: bytes) -> bytes:
    return content[:500] + bytes([content[500] ^ 1]) + content[501:]


@pytest.mark.parametrize(
    "written",
    [b"", content(1)[:-1], content(1) + b"\0", changed(content(1)), content(5), content(0), b"<html>404</html>"],
    ids=["empty", "truncated", "too long", "changed", "of the test set", "another of training", "a web page"],
)
def test_a_file_that_is_not_the_published_one_is_named(tmp_path: Path, publish: Publish, written: bytes) -> None:
    path = unpacked(tmp_path, publish()) / "data_batch_2"
    path.write_bytes(written)
    assert damage(CIFAR10().load, tmp_path) == (path, hashlib.md5(written).hexdigest())


def test_a_file_in_the_archive_that_is_not_the_published_one_is_named(tmp_path: Path, publish: Publish) -> None:
    path = archived(tmp_path, publish() | {"data_batch_4": content(5)})
    assert damage(CIFAR10().load, tmp_path) == (path, hashlib.md5(content(5)).hexdigest())
    assert "data_batch_4" in usage_error(CIFAR10().load, tmp_path).problem


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_archive_is_named(tmp_path: Path, publish: Publish, keep: float) -> None:
    path = archived(tmp_path, publish())
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    assert damage(CIFAR10().load, tmp_path) == (path, path.stat().st_size)


def test_an_archive_whose_bytes_were_changed(tmp_path: Path, publish: Publish) -> None:
    path = archived(tmp_path, publish())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert damage(CIFAR10().load, tmp_path)[0] == path


def test_a_web_page_in_the_place_of_the_archive(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_text("<html>404</html>")
    assert damage(CIFAR10().load, tmp_path) == (path, 16)


def test_another_archive(tmp_path: Path, publish: Publish) -> None:
    path = archived(tmp_path, {"data_batch_1": publish()["data_batch_1"]})
    assert damage(CIFAR10().load, tmp_path) == (path, "data_batch_2")


class Intruder:
    """Makes a folder where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


def test_no_code_of_a_file_is_run(tmp_path: Path, publish: Publish) -> None:
    malicious = pickle.dumps(Intruder(tmp_path / "trace"))
    path = unpacked(tmp_path, publish()) / "data_batch_1"
    path.write_bytes(malicious)
    assert damage(CIFAR10().load, tmp_path) == (path, hashlib.md5(malicious).hexdigest())
    assert not (tmp_path / "trace").exists()
    pickle.loads(malicious)
    assert (tmp_path / "trace").exists()
