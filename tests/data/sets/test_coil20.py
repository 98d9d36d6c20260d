from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from capsbench import registry
from capsbench.data.base import load_splits
from capsbench.data.images import Images, Splits
from capsbench.data.sets import coil20
from capsbench.data.sets.coil20 import COIL20, read_views
from tests.data.faults import damage, missing_file

pytestmark = pytest.mark.usefixtures("offline")

NPZ, ZIP, UNPACKED = "coil20.npz", "coil-20-proc.zip", "coil-20-proc"


def shade(thing: int, azimuth: int) -> int:
    """The grey level of an object from an azimuth: no two of one object are alike."""
    return thing + azimuth // 5 * 3


@pytest.fixture(autouse=True)
def small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of 4x4 pixels rather than 128x128, and two objects."""
    monkeypatch.setattr(coil20, "SIDE", 4)
    monkeypatch.setattr(coil20, "OBJECTS", 2)
    monkeypatch.setattr(COIL20, "classes", 2)
    (archive,) = COIL20.files
    monkeypatch.setitem(archive.__dict__, "members", ("obj1__0.png", "obj2__71.png"))


def encode(pixels: np.ndarray) -> bytes:
    content = BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def pngs() -> dict[str, bytes]:
    """The publisher's files: the number of a view, not its degrees, is in the name."""
    return {
        f"obj{thing + 1}__{view}.png": encode(np.full((4, 4), shade(thing, 5 * view), np.uint8))
        for thing in range(2)
        for view in range(72)
    }


def write_zip(folder: Path) -> Path:
    with ZipFile(folder / ZIP, "w") as archive:
        for name, content in pngs().items():
            archive.writestr(f"coil-20-proc/{name}", content)
    return folder / ZIP


def write_unpacked(folder: Path) -> Path:
    (folder / UNPACKED).mkdir()
    for name, content in pngs().items():
        (folder / UNPACKED / name).write_bytes(content)
    return folder / UNPACKED


def write_npz(folder: Path, **changed: np.ndarray) -> Path:
    things, azimuths = np.repeat(np.arange(2), 72), np.tile(5 * np.arange(72), 2)
    shades = np.array([shade(*place) for place in zip(things, azimuths, strict=True)])
    image = np.broadcast_to(shades[:, None, None], (144, 4, 4)).astype(np.uint8)
    arrays = {"image": image, "object": things.astype(np.uint8), "azimuth": azimuths.astype(np.uint16)}
    np.savez(folder / NPZ, **{**arrays, **changed})
    return folder / NPZ


@pytest.fixture
def coil(tmp_path: Path) -> Path:
    (tmp_path / "COIL20").mkdir()
    return tmp_path / "COIL20"


def azimuths_of(part: Images) -> list[set[int]]:
    """The azimuths of each object, read from the grey level of its images."""
    levels = part.images.mul(255).round().amax(dim=(1, 2, 3)).long()
    return [{5 * (level - thing) // 3 for level in levels[part.labels == thing].tolist()} for thing in range(2)]


@pytest.mark.parametrize("write", [write_zip, write_unpacked, write_npz])
def test_every_form_has_the_same_views(coil: Path, write: Callable[[Path], Path]) -> None:
    views = read_views(write(coil))
    assert views.shape == (2, 72, 4, 4)
    assert (views == views[:, :, :1, :1]).all()
    assert views[:, :, 0, 0].tolist() == [[shade(thing, 5 * view) for view in range(72)] for thing in range(2)]


def load(name: str, coil: Path) -> Splits:
    write_npz(coil)
    return load_splits(name, coil.parent)


def test_training_has_every_30_degrees_and_the_test_has_what_is_farthest_between(coil: Path) -> None:
    splits = load("coil20", coil)
    azimuths = {name: azimuths_of(part) for name, part in splits.by_name().items()}
    every = range(0, 360, 30)
    assert azimuths == {
        "train": [set(every)] * 2,
        "validation": [{azimuth + 5 for azimuth in every}] * 2,
        "familiar": [{azimuth + 25 for azimuth in every}] * 2,
        "test": [{azimuth + between for azimuth in every for between in (10, 15, 20)}] * 2,
    }


def test_the_other_half_of_the_circle_is_in_the_test_alone(coil: Path) -> None:
    splits = load("coil20-halves", coil)
    azimuths = {name: azimuths_of(part) for name, part in splits.by_name().items()}
    assert azimuths == {
        "train": [set(range(0, 180, 10))] * 2,
        "validation": [set(range(5, 180, 20))] * 2,
        "familiar": [set(range(15, 180, 20))] * 2,
        "test": [set(range(180, 360, 5))] * 2,
    }


@pytest.mark.parametrize("name", ["coil20", "coil20-halves"])
def test_each_image_is_told_its_azimuth(coil: Path, name: str) -> None:
    splits = load(name, coil)
    for part in ("test", "familiar"):
        images = splits.by_name()[part]
        degrees = splits.about[part]["azimuth"].tolist()
        shades = [shade(*place) for place in zip(images.labels.tolist(), map(int, degrees), strict=True)]
        assert images.images.mul(255).round().amax(dim=(1, 2, 3)).tolist() == shades


@pytest.mark.parametrize("name", ["coil20", "coil20-halves"])
def test_the_declared_counts_are_those_of_the_images(coil: Path, name: str) -> None:
    counts = {part: len(images.labels) for part, images in load(name, coil).by_name().items()}
    assert counts == registry.get("dataset", name)().image_counts
    assert sum(counts.values()) == 144


def test_a_pixel_is_the_mean_of_sixteen(coil: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coil20, "SIDE", 128)
    image = np.zeros((144, 128, 128), np.uint8)
    image[:, 8:12, 20:24] = 160
    write_npz(coil, image=image)
    test = load_splits("coil20", coil.parent).test.images[0, 0]
    assert test.nonzero().tolist() == [[2, 5]]
    assert test[2, 5] * 255 == pytest.approx(160)


def test_without_network_the_file_to_put_there_is_named(coil: Path) -> None:
    assert missing_file(COIL20().load, coil.parent) == coil / ZIP


def test_a_view_that_is_missing_or_there_twice(coil: Path) -> None:
    path = write_zip(coil)
    with ZipFile(path, "w") as archive:
        for name, content in list(pngs().items())[:-1]:
            archive.writestr(name, content)
    assert damage(COIL20().load, coil.parent) == (path, 143)
    path.unlink()
    path = write_npz(coil, azimuth=np.full(144, 5, np.uint16))
    assert damage(COIL20().load, coil.parent) == (path, 144)
