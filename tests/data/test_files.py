import hashlib
from pathlib import Path

import numpy as np
import pytest

from capsbench.data.base import load_splits
from capsbench.data.files import REMEDY, Archive, DataFile
from capsbench.data.formats.idx import FILES
from capsbench.data.sets.fashion_mnist import FashionMNIST
from capsbench.data.sets.mnist import MNIST
from capsbench.errors import Kind
from tests.data.conftest import WriteIDX
from tests.data.faults import usage_error

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def any_sum_will_do() -> None:
    """It will not here."""


@pytest.mark.parametrize(
    ("content", "size", "md5", "state"),
    [
        (None, None, None, (False, "missing")),
        (CONTENT, len(CONTENT), MD5, (True, "there, size and MD5 sum as published")),
        (CONTENT, len(CONTENT), None, (True, "there, size as published")),
        (CONTENT, None, None, (True, "there, no size or MD5 sum known")),
        (CONTENT[1:], len(CONTENT), MD5, (False, "damaged: expected 1024000 bytes, found 1023999")),
        (CONTENT[::-1], len(CONTENT), MD5, (False, f"damaged: expected the MD5 sum {MD5}, found ")),
    ],
)
def test_the_state_of_a_file(
    tmp_path: Path, content: bytes | None, size: int | None, md5: str | None, state: tuple[bool, str]
) -> None:
    if content is not None:
        (tmp_path / "images.gz").write_bytes(content)
    fit, text = DataFile("images.gz", None, size, md5).describe_in(tmp_path)
    assert fit == state[0]
    assert text.startswith(state[1])


@pytest.mark.parametrize(("name", "decompressed"), [("images.gz", "images"), ("test.mat.zip", "test.mat")])
def test_a_decompressed_file_is_taken_in_place_of_the_published_one(
    tmp_path: Path, name: str, decompressed: str
) -> None:
    (tmp_path / decompressed).write_bytes(b"anything")
    file = DataFile(name, None, 5, MD5)
    assert file.find_in(tmp_path) == tmp_path / decompressed
    assert file.describe_in(tmp_path) == (True, f"there, decompressed ({decompressed}), no size or MD5 sum known")
    (tmp_path / name).write_bytes(b"12345")
    assert file.find_in(tmp_path) == tmp_path / name


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_a_file_is_held_against_what_is_known_of_it_before_it_is_read(tmp_path: Path, name: str) -> None:
    file = DataFile("images.gz", None, len(CONTENT), MD5, decompressed=(len(CONTENT), MD5))
    path = tmp_path / name
    path.write_bytes(CONTENT)
    file.check_content(path)
    assert file.describe_in(tmp_path)[0]
    assert file.describe_in(tmp_path)[1].endswith("size and MD5 sum as published")
    for changed in (CONTENT[::-1], CONTENT[1:]):
        path.write_bytes(changed)
        error = usage_error(file.check_content, path)
        assert (error.kind, error.file, error.expected) == (Kind.DAMAGED, path, REMEDY)
        assert not file.describe_in(tmp_path)[0]


def test_a_sum_is_taken_once_of_a_file_that_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, path = DataFile("images", None, len(CONTENT), MD5), tmp_path / "images"
    path.write_bytes(CONTENT)
    taken = []
    fault = DataFile.find_fault
    monkeypatch.setattr(DataFile, "find_fault", lambda file, path: taken.append(path) or fault(file, path))
    file.check_content(path)
    file.check_content(path)
    assert taken == [path]


@pytest.mark.parametrize("dataset", [MNIST, FashionMNIST])
def test_unpacked_files_of_shifted_labels_are_refused(
    tmp_path: Path, write_idx: WriteIDX, dataset: type[MNIST] | type[FashionMNIST]
) -> None:
    names = dict(zip(FILES, dataset.files, strict=True))
    for name, shape in zip(FILES, [(60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,)], strict=True):
        path = tmp_path / names[name].path.removesuffix(".gz")
        write_idx(path, np.zeros(shape))
        error = usage_error(names[name].check_content, path)
        assert error.problem.startswith("expected the MD5 sum")  # the size is that of what is published
    assert usage_error(load_splits, "mnist" if dataset is MNIST else "fashion-mnist", tmp_path).kind is Kind.DAMAGED


@pytest.mark.parametrize(
    ("content", "size", "fault"),
    [
        (CONTENT, len(CONTENT), None),
        (CONTENT, None, None),
        (CONTENT[1:], len(CONTENT), "expected 1024000 bytes, found 1023999"),
        (CONTENT[::-1], len(CONTENT), "expected the MD5 sum"),
        (CONTENT[::-1] * 2, len(CONTENT), "expected 1024000 bytes, found 2048000"),
        (CONTENT[::-1] * 2, 2 * len(CONTENT), None),  # a large file is not read
        (CONTENT[::-1] * 2, None, None),
    ],
)
def test_a_quick_look_tells_the_size_and_of_small_files_the_sum(
    tmp_path: Path, content: bytes, size: int | None, fault: str | None
) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    quick = DataFile("images", None, size, MD5).find_quick_fault(path)
    assert (quick is None) == (fault is None)
    assert fault is None or (quick is not None and quick.startswith(fault))


def test_a_decompressed_file_without_a_known_sum_is_checked_by_its_size(tmp_path: Path) -> None:
    file = DataFile("images.gz", None, 5, MD5, decompressed=(len(CONTENT), None))
    path = tmp_path / "images"
    path.write_bytes(CONTENT)
    assert file.describe_in(tmp_path) == (True, "there, decompressed (images), size as published")
    path.write_bytes(CONTENT[1:])
    assert file.describe_in(tmp_path)[0] is False


def test_another_format_of_the_same_content_stands_in_for_a_file_that_is_missing(tmp_path: Path) -> None:
    file = DataFile("set.bz2", None, 3, instead=DataFile("set.npz", None, len(CONTENT), MD5))
    (tmp_path / "set.npz").write_bytes(CONTENT)
    assert file.find_in(tmp_path) == tmp_path / "set.npz"
    assert file.describe_in(tmp_path) == (
        True,
        "there, in another format (set.npz), size and MD5 sum as published",
    )
    (tmp_path / "set.npz").write_bytes(CONTENT[::-1])
    assert not file.describe_in(tmp_path)[0]
    (tmp_path / "set.bz2").write_bytes(b"abc")
    assert file.find_in(tmp_path) == tmp_path / "set.bz2"


def test_an_unpacked_archive_stands_in_for_one_that_is_missing_if_it_is_whole(tmp_path: Path) -> None:
    archive = Archive("set.zip", None, 3, folder="set", members=("a.png", "b"))
    assert archive.find_in(tmp_path) is None
    (tmp_path / "set" / "b").mkdir(parents=True)
    assert archive.find_in(tmp_path) is None
    (tmp_path / "set" / "a.png").write_bytes(b"")
    assert archive.find_in(tmp_path) == tmp_path / "set"
    assert archive.describe_in(tmp_path) == (True, "there, unpacked (set), no size or MD5 sum known")
    (tmp_path / "set.zip").write_bytes(b"abc")
    assert archive.find_in(tmp_path) == tmp_path / "set.zip"
