import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision

from capsbench import registry
from capsbench.data.base import Dataset
from capsbench.data.files import DataFile
from capsbench.data.formats import published
from capsbench.data.formats.idx import FILES
from capsbench.data.formats.published import check_labels, crop_centre, fetch_files
from capsbench.data.sets.mnist import MNIST
from tests.data.faults import damage, missing_file, usage_error

WriteSet = Callable[..., None]

pytestmark = pytest.mark.usefixtures("offline")


def test_the_published_test_set_stays_and_validation_images_come_from_the_training_set(
    tmp_path: Path, write_set: WriteSet
) -> None:
    write_set(tmp_path / "MNIST" / "raw")
    splits = MNIST().load(tmp_path)
    assert {name: len(part.labels) for name, part in splits.by_name().items()} == {
        "train": 80,
        "validation": 20,
        "test": 20,
    }
    assert splits.validation.labels.bincount().tolist() == [2] * 10
    torch.testing.assert_close(splits.test.images[:, 0, 0, 0], torch.arange(20) / 255)
    numbers = torch.cat([splits.train.images, splits.validation.images])[:, 0, 0, 0].mul(255).round().long()
    assert sorted(numbers.tolist()) == list(range(100))
    assert (numbers % 10).equal(torch.cat([splits.train.labels, splits.validation.labels]))
    assert splits.train.images.dtype == torch.float32


def test_nothing_is_written_where_the_files_are_there(tmp_path: Path, write_set: WriteSet) -> None:
    write_set(tmp_path / "MNIST" / "raw", ".gz")
    for path in tmp_path.rglob("*"):
        os.utime(path, (0, 0))
    before = set(tmp_path.rglob("*"))
    MNIST().load(tmp_path)
    assert set(tmp_path.rglob("*")) == before
    assert {path.stat().st_mtime for path in before} == {0}


def test_without_network_the_file_to_put_there_is_named_and_those_missing_as_well(
    tmp_path: Path, write_set: WriteSet
) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    for file in FILES[1:]:
        (raw / file).unlink()
    assert missing_file(MNIST().load, tmp_path) == raw / f"{FILES[1]}.gz"
    error = usage_error(MNIST().load, tmp_path)
    assert error.value == MNIST.files[1].url
    assert "no route to host" in error.problem
    assert error.problem.endswith(f" MNIST/raw/{FILES[2]}.gz, MNIST/raw/{FILES[3]}.gz")


def test_what_is_missing_is_downloaded_and_what_is_there_is_kept(
    tmp_path: Path, write_set: WriteSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    write_set(tmp_path / "server" / "MNIST" / "raw", ".gz")
    for file in FILES[2:]:
        (raw / file).unlink()
    os.utime(raw / FILES[0], (0, 0))
    asked: list[str] = []

    def download(file: DataFile, folder: Path) -> Path:
        asked.append(file.path)
        return (tmp_path / "server" / file.path).rename(folder / file.path)

    monkeypatch.setattr(published, "download_file", download)
    assert len(MNIST().load(tmp_path).test.labels) == 20
    assert asked == [f"MNIST/raw/{file}.gz" for file in FILES[2:]]
    assert (raw / FILES[0]).stat().st_mtime == 0


def test_files_are_found_as_published_or_decompressed_and_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b.gz").touch()
    assert fetch_files([DataFile("b.gz", None), DataFile("a.gz", None)], tmp_path) == [
        tmp_path / "b.gz",
        tmp_path / "a",
    ]


@pytest.mark.parametrize(("labels", "found"), [([1, 2], 2), ([1, 4, 2], 4), ([1, 0, 2], 0)])
def test_wrong_labels_are_told_with_their_file(labels: list[int], found: int) -> None:
    path = Path("labels")
    check_labels(torch.tensor([3, 1, 2]), path, classes=3, count=3, first=1)
    assert damage(check_labels, torch.tensor(labels), path, 3, 3, 1) == (path, found)


def test_the_centre_is_as_far_from_all_edges() -> None:
    image = torch.arange(36).reshape(1, 1, 6, 6)
    assert crop_centre(image, 2, 4)[0, 0].tolist() == [[13, 14, 15, 16], [19, 20, 21, 22]]


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist", "cifar10", "svhn"])
def test_addresses_and_sums_are_those_that_torchvision_has(name: str) -> None:
    """They are copied, since torchvision takes longer to import than most data sets take to load."""
    dataset: type[Dataset] = registry.get("dataset", name)
    table = getattr(torchvision.datasets, dataset.__name__)
    if name == "cifar10":
        known = {(table.filename, table.url, table.tgz_md5)}
    elif name == "svhn":
        known = {(file, url, md5) for url, file, md5 in (table.split_list[part] for part in ("train", "test"))}
    else:
        known = {(f"{table.__name__}/raw/{file}", table.mirrors[0] + file, md5) for file, md5 in table.resources}
    assert {(file.path, file.url, file.md5) for file in dataset.files} == known


@pytest.mark.parametrize("name", [name for name in registry.BUILT_IN["dataset"] if registry.get("dataset", name).files])
def test_every_data_set_with_files_tells_its_terms_and_its_source(name: str) -> None:
    dataset: type[Dataset] = registry.get("dataset", name)
    assert dataset.licence
    assert dataset.source
