import gzip
import itertools
import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from capsbench import registry
from capsbench.data.augment import Crop, Jitter
from capsbench.data.base import load_splits
from capsbench.data.formats.norb_binary import INTEGERS
from capsbench.data.images import Images, Splits
from capsbench.data.sets.smallnorb import COLUMNS, TEST_TOYS, SmallNORB
from tests.data.faults import damage, missing_file, usage_error

TRAINING, TESTING = "smallnorb-5x46789x9x18x6x2x96x96-training", "smallnorb-5x01235x9x18x6x2x96x96-testing"

# Two elevations and four azimuths: those to either side of where Hinton 2018 parts familiar and novel viewpoints.
ELEVATIONS, AZIMUTHS = (2, 3), (4, 6, 28, 30)

pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 image pairs in each set rather than 24,300."""
    monkeypatch.setattr(SmallNORB, "count", 200)


def views(toys: tuple[int, ...]) -> np.ndarray:
    """Class, toy, elevation, azimuth and lighting of each image, all combinations once, in some order."""
    rows = np.array(list(itertools.product(range(5), toys, ELEVATIONS, AZIMUTHS, [3])))
    return np.random.RandomState(len(set(toys) - {4})).permutation(rows)


def images_of(toys: tuple[int, ...]) -> np.ndarray:
    return np.random.RandomState(toys[0]).randint(0, 256, (200, 2, 96, 96)).astype(np.uint8)


def write_matrix(path: Path, array: np.ndarray) -> None:
    """Writes a file as https://cs.nyu.edu/~ylclab/data/norb-v1.0-small describes it."""
    magic = 0x1E3D4C55 if array.dtype == np.uint8 else 0x1E3D4C54
    sizes = [*array.shape, 1, 1][: max(3, array.ndim)]
    content = struct.pack(f"<{2 + len(sizes)}i", magic, array.ndim, *sizes)
    content += array.tobytes() if array.dtype == np.uint8 else array.astype("<i4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)


SETS = {TRAINING: (4, 6, 7, 8, 9), TESTING: (0, 1, 2, 3, 5)}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the six files, uncompressed."""
    folder = tmp_path_factory.mktemp("data")
    for name, toys in SETS.items():
        write_matrix(folder / "smallNORB" / f"{name}-dat.mat", images_of(toys))
        write_matrix(folder / "smallNORB" / f"{name}-cat.mat", views(toys)[:, 0])
        write_matrix(folder / "smallNORB" / f"{name}-info.mat", views(toys)[:, 1:])
    return folder


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    """One that may be spoilt: its files are links."""
    (tmp_path / "smallNORB").mkdir()
    for path in (published / "smallNORB").iterdir():
        (tmp_path / "smallNORB" / path.name).symlink_to(path)
    return tmp_path


def spoil(folder: Path, name: str, content: bytes | np.ndarray) -> Path:
    """Puts something else in the place of a file."""
    path = folder / "smallNORB" / name
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_matrix(path, content)
    return path


@cache
def prepared(toys: tuple[int, ...], cameras: int) -> np.ndarray:
    """All images ``[200, cameras, 48, 48]`` as Hinton 2018 prepares them, written out pixel by pixel."""
    images = images_of(toys)[:, :cameras].astype(float)
    halved = np.zeros((200, cameras, 48, 48))
    for row, column in itertools.product(range(48), range(48)):
        halved[:, :, row, column] = images[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean(axis=(2, 3))
    return np.stack([(pair - pair.mean()) / pair.std() for pair in halved])


def shown(part: Images, toys: tuple[int, ...]) -> np.ndarray:
    """Class, toy, elevation, azimuth and lighting of each image of a part, found by its pixels."""
    _, cameras, height, _ = part.images.shape
    edge = (48 - height) // 2
    known = torch.from_numpy(prepared(toys, cameras)[:, :, edge : 48 - edge, edge : 48 - edge])
    distances, which = torch.cdist(part.images.double().flatten(1), known.flatten(1)).min(dim=1)
    assert distances.max() < 1e-4
    found = views(toys)[which.numpy()]
    assert found[:, 0].tolist() == part.labels.tolist()
    return found


def rows(*parts: np.ndarray) -> list[list[int]]:
    return sorted(row for part in parts for row in part.tolist())


def shapes(splits: Splits) -> dict[str, tuple[int, ...]]:
    return {name: tuple(part.images.shape) for name, part in splits.by_name().items()}


def test_every_image_is_in_one_part_with_its_own_label(published: Path) -> None:
    splits = load_splits("smallnorb", published)
    assert shapes(splits) == {"train": (180, 2, 48, 48), "validation": (20, 2, 32, 32), "test": (200, 2, 32, 32)}
    train, validation = shown(splits.train, SETS[TRAINING]), shown(splits.validation, SETS[TRAINING])
    assert rows(train, validation) == rows(views(SETS[TRAINING]))
    assert rows(shown(splits.test, SETS[TESTING])) == rows(views(SETS[TESTING]))
    assert splits.validation.labels.bincount().tolist() == [4] * 5


def test_images_have_a_mean_of_0_and_a_variance_of_1_over_both_cameras(published: Path) -> None:
    images = load_splits("smallnorb", published).train.images.double()
    assert images.mean(dim=(1, 2, 3)).abs().max() < 1e-6
    assert (images.var(dim=(1, 2, 3), correction=0) - 1).abs().max() < 1e-5
    assert images.mean(dim=(2, 3)).abs().max() > 1e-3


def test_an_image_of_a_single_grey_level_is_0(folder: Path) -> None:
    images = images_of(SETS[TESTING])
    images[17] = 200
    spoil(folder, f"{TESTING}-dat.mat", images)
    assert (load_splits("smallnorb", folder).test.images[17] == 0).all()


def test_training_takes_windows_and_changes_brightness_and_contrast(published: Path) -> None:
    crop, jitter = load_splits("smallnorb", published).augmentations
    assert isinstance(crop, Crop)
    assert (crop.height, crop.width) == (32, 32)
    assert isinstance(jitter, Jitter)
    assert (jitter.brightness, jitter.contrast) == (2.0, 0.5)
    assert SmallNORB.shift == 0


def test_the_left_camera_alone(published: Path) -> None:
    splits = load_splits("smallnorb-mono", published)
    assert shapes(splits) == {"train": (180, 1, 48, 48), "validation": (20, 1, 32, 32), "test": (200, 1, 32, 32)}
    assert rows(shown(splits.test, SETS[TESTING])) == rows(views(SETS[TESTING]))


def test_one_toy_of_each_class_can_be_held_out(published: Path) -> None:
    splits = load_splits("smallnorb-new-toys", published)
    train, validation = shown(splits.train, SETS[TRAINING]), shown(splits.validation, SETS[TRAINING])
    assert set(train[:, 1]) == {4, 6, 7, 8}
    assert set(validation[:, 1]) == {9}
    assert rows(train, validation) == rows(views(SETS[TRAINING]))


@pytest.mark.parametrize(
    ("name", "column", "familiar", "novel"),
    [("smallnorb-azimuth", 3, {30, 4}, {6, 28}), ("smallnorb-elevation", 2, {2}, {3})],
)
def test_novel_viewpoints_are_in_the_test_alone(
    published: Path, name: str, column: int, familiar: set[int], novel: set[int]
) -> None:
    splits = load_splits(name, published)
    train, validation = shown(splits.train, SETS[TRAINING]), shown(splits.validation, SETS[TRAINING])
    test, beside = shown(splits.test, SETS[TESTING]), shown(splits.beside["familiar"], SETS[TESTING])
    assert list(splits.beside) == ["familiar"]
    assert set(train[:, column]) == set(validation[:, column]) == set(beside[:, column]) == familiar
    assert set(test[:, column]) == novel
    assert [len(part) for part in (train, validation, test, beside)] == [90, 10, 100, 100]
    assert rows(test, beside) == rows(views(SETS[TESTING]))


@pytest.mark.parametrize(
    ("name", "familiar", "novel"),
    [
        ("smallnorb-azimuth", {300, 320, 340, 0, 20, 40}, set(range(60, 300, 20))),
        ("smallnorb-elevation", {30, 35, 40}, {45, 50, 55, 60, 65, 70}),
    ],
)
def test_the_viewpoints_in_degrees_are_those_of_the_paper(name: str, familiar: set[int], novel: set[int]) -> None:
    ((column, seen),) = registry.get("dataset", name).familiar.items()
    degrees = {value: 10 * value if column == "azimuth" else 30 + 5 * value for value in COLUMNS[column]}
    assert {degrees[value] for value in seen} == familiar
    assert {degree for value, degree in degrees.items() if value not in seen} == novel


def test_compressed_files_are_read_alike(published: Path, tmp_path: Path) -> None:
    for path in (published / "smallNORB").iterdir():
        target = tmp_path / "smallNORB" / f"{path.name}.gz"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(gzip.compress(path.read_bytes(), 1))
    plain, compressed = (load_splits("smallnorb", folder).by_name() for folder in (published, tmp_path))
    for name, part in plain.items():
        assert part.images.equal(compressed[name].images)
        assert part.labels.equal(compressed[name].labels)


def test_the_files_are_those_of_the_page() -> None:
    assert [file.path for file in SmallNORB.files] == [
        f"smallNORB/{name}-{kind}.mat.gz" for name in SETS for kind in ("dat", "cat", "info")
    ]
    for file in SmallNORB.files:
        assert file.url == f"https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/{Path(file.path).name}"


def test_without_network_the_file_to_put_there_is_named(folder: Path) -> None:
    (folder / "smallNORB" / f"{TESTING}-info.mat").unlink()
    assert missing_file(SmallNORB().load, folder) == folder / "smallNORB" / f"{TESTING}-info.mat.gz"


def test_a_truncated_file_is_named(folder: Path, published: Path) -> None:
    name = f"{TESTING}-dat.mat"
    whole = (published / "smallNORB" / name).read_bytes()
    path = spoil(folder, name, whole[:-1])
    assert damage(SmallNORB().load, folder) == (path, len(whole) - 1)


def test_labels_in_the_place_of_images(folder: Path) -> None:
    path = spoil(folder, f"{TRAINING}-dat.mat", views(SETS[TRAINING])[:, 0])
    assert damage(SmallNORB().load, folder) == (path, INTEGERS)


def test_views_in_the_place_of_labels(folder: Path) -> None:
    path = spoil(folder, f"{TRAINING}-cat.mat", views(SETS[TRAINING])[:, 1:])
    assert damage(SmallNORB().load, folder) == (path, 2)


def test_the_views_of_the_test_set_in_the_place_of_those_of_training(folder: Path) -> None:
    path = spoil(folder, f"{TRAINING}-info.mat", views(SETS[TESTING])[:, 1:])
    file, toy = damage(SmallNORB().load, folder)
    assert file == path
    assert toy in TEST_TOYS


def changed(column: int, value: int) -> np.ndarray:
    """The columns of the training set's views, labels first, with one value changed."""
    table = views(SETS[TRAINING])
    table[5, column] = value
    return table


@pytest.mark.parametrize(
    ("kind", "table", "wrong", "found"),
    [
        ("cat", changed(0, 5)[:, 0], "labels", 5),
        ("cat", changed(0, -1)[:, 0], "labels", -1),
        ("info", changed(2, 9)[:, 1:], "elevation", 9),
        ("info", changed(3, 5)[:, 1:], "azimuth", 5),
        ("info", changed(4, 6)[:, 1:], "lighting", 6),
        ("info", np.roll(views(SETS[TRAINING]), 1, axis=0)[:, 1:], f"{TRAINING}-cat.mat", None),
    ],
)
def test_labels_and_views_that_cannot_be(folder: Path, kind: str, table: Any, wrong: str, found: int | None) -> None:
    path = spoil(folder, f"{TRAINING}-{kind}.mat", table)
    assert damage(SmallNORB().load, folder) == (path, found)
    assert wrong in usage_error(SmallNORB().load, folder).problem


def test_the_same_images_at_every_call(published: Path) -> None:
    first, again = (load_splits("smallnorb-azimuth", published).by_name() for _ in range(2))
    assert all(part.images.equal(again[name].images) for name, part in first.items())
