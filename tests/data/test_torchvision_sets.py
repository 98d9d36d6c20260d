import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from capsbench.data.torchvision_sets import FILES, TorchvisionSet
from capsbench.errors import UsageError

WriteIDX = Callable[[Path, Any], None]
WriteSet = Callable[..., None]

pytestmark = pytest.mark.usefixtures("offline")


class Small(TorchvisionSet):
    """MNIST's folder with the small files of `write_set`."""

    name = "MNIST"
    validation = 20


def line(folder: Path) -> str:
    """What a data folder that cannot be loaded gets."""
    with pytest.raises(UsageError) as error:
        Small().load(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_published_test_set_stays_and_validation_images_come_from_the_training_set(
    tmp_path: Path, write_set: WriteSet
) -> None:
    write_set(tmp_path / "MNIST" / "raw")
    train, validation, test = Small().load(tmp_path)
    assert [len(part.labels) for part in (train, validation, test)] == [80, 20, 20]
    assert validation.labels.bincount().tolist() == [2] * 10
    torch.testing.assert_close(test.images[:, 0, 0, 0], torch.arange(20) / 255)
    numbers = torch.cat([train.images, validation.images])[:, 0, 0, 0].mul(255).round().long()
    assert sorted(numbers.tolist()) == list(range(100))
    assert (numbers % 10).equal(torch.cat([train.labels, validation.labels]))
    assert train.images.dtype == torch.float32
    assert train.images.shape == (80, 1, 28, 28)


def test_compressed_and_other_files_may_be_mixed(tmp_path: Path, write_set: WriteSet) -> None:
    write_set(tmp_path / "plain" / "MNIST" / "raw")
    write_set(tmp_path / "mixed" / "MNIST" / "raw", suffix=".gz")
    compressed = tmp_path / "mixed" / "MNIST" / "raw" / f"{FILES[0]}.gz"
    compressed.with_suffix("").write_bytes(gzip.decompress(compressed.read_bytes()))
    compressed.unlink()
    for plain, mixed in zip(Small().load(tmp_path / "plain"), Small().load(tmp_path / "mixed"), strict=True):
        assert plain.images.equal(mixed.images)
        assert plain.labels.equal(mixed.labels)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_nothing_is_written_where_the_files_are_there(tmp_path: Path, write_set: WriteSet, suffix: str) -> None:
    write_set(tmp_path / "MNIST" / "raw", suffix)
    for path in tmp_path.rglob("*"):
        os.utime(path, (0, 0))
    before = set(tmp_path.rglob("*"))
    Small().load(tmp_path)
    assert set(tmp_path.rglob("*")) == before
    assert {path.stat().st_mtime for path in before} == {0}


def test_without_network_one_line_says_which_files_to_put_where(tmp_path: Path) -> None:
    assert line(tmp_path / "data") == (
        "MNIST is not in the data folder and cannot be downloaded (<urlopen error no route to host>): "
        "put train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, "
        f"t10k-labels-idx1-ubyte.gz into {tmp_path / 'data' / 'MNIST' / 'raw'}, as published or decompressed "
        "without .gz, or name another folder by --data-dir or $CAPSBENCH_DATA"
    )
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_missing_is_asked_for(tmp_path: Path, write_set: WriteSet) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    (raw / FILES[3]).unlink()
    assert f"put t10k-labels-idx1-ubyte.gz into {raw}" in line(tmp_path)


def test_what_is_missing_is_downloaded_and_what_is_there_is_kept(
    tmp_path: Path, write_set: WriteSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    (raw / FILES[2]).unlink()
    os.utime(raw / FILES[0], (0, 0))

    def download(root: str, download: bool) -> None:
        assert download
        write_set(Path(root) / "MNIST" / "raw")

    monkeypatch.setattr(torchvision.datasets, "MNIST", download)
    assert len(Small().load(tmp_path).test.labels) == 20
    assert (raw / FILES[0]).stat().st_mtime == 0
    assert sorted(path.name for path in raw.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), OSError("No space left on device"), EOFError()])
def test_a_download_that_is_cut_off_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    def download(root: str, **_: bool) -> None:
        raw = Path(root) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        (raw / FILES[0]).write_bytes(b"\0\0\x08\x03")
        raise interruption

    monkeypatch.setattr(torchvision.datasets, "MNIST", download)
    with pytest.raises((KeyboardInterrupt, UsageError)):
        Small().load(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_that_is_a_file(tmp_path: Path, write_set: WriteSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets, "MNIST", lambda root, **_: write_set(Path(root) / "MNIST" / "raw"))
    (tmp_path / "data").write_text("")
    assert "Not a directory" in line(tmp_path / "data")


def test_damaged_files_are_named(tmp_path: Path, write_set: WriteSet) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    path = raw / FILES[2]
    path.write_bytes(path.read_bytes()[:1000])
    assert line(tmp_path).startswith(f"{path}: its header promises 20 x 28 x 28 images, so 15696 bytes, found 1000")


def test_images_and_labels_swapped(tmp_path: Path, write_set: WriteSet) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    (raw / FILES[0]).rename(raw / "aside")
    (raw / FILES[1]).rename(raw / FILES[0])
    (raw / "aside").rename(raw / FILES[1])
    assert "found magic number 2049, that of labels" in line(tmp_path)


def test_training_labels_with_test_images(tmp_path: Path, write_set: WriteSet) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    (raw / FILES[0]).write_bytes((raw / FILES[2]).read_bytes())
    assert (
        f"{FILES[0]}: expected an image of 28x28 pixels for each of the 100 labels in {FILES[1]}, found 20 x 28 x 28"
        in line(tmp_path)
    )


def test_images_of_another_size(tmp_path: Path, write_set: WriteSet, write_idx: WriteIDX) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    write_idx(raw / FILES[0], np.zeros((100, 40, 40)))
    assert "found 100 x 40 x 40" in line(tmp_path)


def test_labels_that_are_no_classes(tmp_path: Path, write_set: WriteSet, write_idx: WriteIDX) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    write_idx(raw / FILES[3], np.arange(20))
    assert line(tmp_path) == f"{raw / FILES[3]}: expected labels from 0 to 9, found 19"


def test_too_few_training_images_to_hold_some_out(tmp_path: Path, write_set: WriteSet) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    for test, train in zip(FILES[2:], FILES[:2], strict=True):
        (raw / train).write_bytes((raw / test).read_bytes())
    assert line(tmp_path) == f"{raw}: 20 training images, too few to hold out 20 for validation"
