from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

from capsbench.data.base import load_splits
from capsbench.data.sets import omniglot
from capsbench.data.sets.omniglot import NOVEL_ALPHABETS, TRAINING_ALPHABETS, Omniglot, read_drawings, read_runs
from tests.data.faults import damage, missing_file

pytestmark = pytest.mark.usefixtures("offline")

SETS = {
    "images_background_small1": TRAINING_ALPHABETS,
    "images_background_small2": (*NOVEL_ALPHABETS, "Greek", "Latin"),
}

SIDE = 10


@pytest.fixture(autouse=True)
def small_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawings of 10x10 pixels rather than 105x105, one character in each alphabet, and three runs."""
    monkeypatch.setattr(omniglot, "SIDE", SIDE)
    monkeypatch.setattr(omniglot, "RUNS", 3)
    monkeypatch.setattr(Omniglot, "classes", 5)


def draw(*place: int) -> np.ndarray:
    """A drawing that tells what it is by the numbers of black pixels in its rows; the paper is white."""
    paper = np.ones((SIDE, SIDE), dtype=bool)
    for row, number in enumerate(place):
        paper[2 * row : 2 * row + 2].flat[:number] = False
    return paper


def read(drawing: torch.Tensor) -> tuple[int, ...]:
    """The numbers that a drawing was made of."""
    return tuple(int(drawing[0, row : row + 2].sum()) for row in (0, 2))


def encode(paper: np.ndarray) -> bytes:
    content = BytesIO()
    Image.fromarray(paper).save(content, "PNG")
    return content.getvalue()


ALPHABETS = sorted({*TRAINING_ALPHABETS, *NOVEL_ALPHABETS})


def background(name: str) -> dict[str, bytes]:
    return {
        f"{name}/{alphabet}/character01/0001_{drawer:02}.png": encode(draw(ALPHABETS.index(alphabet), drawer))
        for alphabet in SETS[name]
        for drawer in range(1, 21)
    }


def runs() -> dict[str, bytes]:
    """The query k of run r shows the character k + r, modulo 20, of the examples."""
    files = {}
    for run in (1, 2, 3):
        lines = []
        for item in range(20):
            answer = (item + run) % 20
            lines.append(f"run{run:02}/test/item{item + 1:02}.png run{run:02}/training/class{answer + 1:02}.png")
            files[f"run{run:02}/test/item{item + 1:02}.png"] = encode(draw(run, answer))
            files[f"run{run:02}/training/class{item + 1:02}.png"] = encode(draw(run, item))
        files[f"run{run:02}/class_labels.txt"] = "\n".join(lines).encode()
    return files


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_unpacked(path: Path, files: dict[str, bytes]) -> Path:
    folder = path.with_suffix("")
    for name, content in files.items():
        file = folder / name.removeprefix(f"{folder.name}/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


def write_all(folder: Path, write: Callable[[Path, dict[str, bytes]], Path] = write_zip) -> Path:
    (folder / "omniglot-py").mkdir()
    for name in SETS:
        write(folder / "omniglot-py" / f"{name}.zip", background(name))
    write(folder / "omniglot-py" / "all_runs.zip", runs())
    return folder


@pytest.mark.parametrize("write", [write_zip, write_unpacked])
def test_drawings_know_alphabet_character_and_drawer(tmp_path: Path, write: Callable[..., Path]) -> None:
    drawings = read_drawings(write_all(tmp_path, write))
    assert drawings.images.shape == (160, 1, SIDE, SIDE)
    assert list(drawings.names) == [(alphabet, 1) for alphabet in ALPHABETS]
    for image, character, drawer in zip(drawings.images, drawings.characters, drawings.drawers, strict=True):
        assert read(image) == (character, drawer)
    assert set(drawings.images.unique().tolist()) == {0.0, 1.0}


def test_some_alphabets_alone(tmp_path: Path) -> None:
    drawings = read_drawings(write_all(tmp_path), NOVEL_ALPHABETS)
    assert list(drawings.names) == [(alphabet, 1) for alphabet in NOVEL_ALPHABETS]
    assert drawings.characters.unique().tolist() == [0, 1, 2]
    assert {read(image)[0] for image in drawings.images} == {ALPHABETS.index(name) for name in NOVEL_ALPHABETS}


def test_a_network_learns_the_training_alphabets_and_is_tested_on_other_drawers(tmp_path: Path) -> None:
    splits = load_splits("omniglot", write_all(tmp_path))
    counts = {name: part.labels.bincount().tolist() for name, part in splits.by_name().items()}
    assert counts == {"train": [14] * 5, "validation": [2] * 5, "test": [4] * 5}
    assert Omniglot().image_counts == {"train": 70, "validation": 10, "test": 20}
    assert splits.train.images.shape[1:] == (1, 28, 28)
    # Ink is bright: a drawing has more of it, the later its drawer.
    ink = [float(part.images.mean()) for part in (splits.train, splits.validation, splits.test)]
    assert ink == sorted(ink)


@pytest.mark.parametrize("write", [write_zip, write_unpacked])
def test_each_query_of_a_run_has_the_example_that_shows_its_character(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    read_back = read_runs(write_all(tmp_path, write))
    assert len(read_back) == 3
    for number, run in enumerate(read_back, start=1):
        assert run.answers.tolist() == [(item + number) % 20 for item in range(20)]
        assert [read(image) for image in run.examples] == [(number, item) for item in range(20)]
        assert [read(image) for image in run.queries] == [(number, answer) for answer in run.answers.tolist()]


def test_a_drawing_that_is_missing(tmp_path: Path) -> None:
    files = background("images_background_small1")
    files.pop("images_background_small1/Korean/character01/0001_07.png")
    path = write_zip(write_all(tmp_path) / "omniglot-py" / "images_background_small1.zip", files)
    assert damage(read_drawings, tmp_path) == (path, 99)


def test_an_alphabet_or_a_character_that_is_missing(tmp_path: Path) -> None:
    path = write_all(tmp_path) / "omniglot-py" / "images_background_small2.zip"
    files = background(path.stem)
    write_zip(path, {name: content for name, content in files.items() if "Sanskrit" not in name})
    assert damage(read_drawings, tmp_path) == (path, "Sanskrit")
    first = path.with_name("images_background_small1.zip")
    more = {name.replace("Greek/character01", "Greek/character02"): content for name, content in files.items()}
    write_zip(path, more)
    assert damage(Omniglot().load, tmp_path) == (first, 6)


@pytest.mark.parametrize("lost", ["run02/class_labels.txt", "run02/training/class05.png", "run02/test/item01.png"])
def test_a_run_that_is_not_whole(tmp_path: Path, lost: str) -> None:
    files = runs()
    files.pop(lost)
    path = write_zip(write_all(tmp_path) / "omniglot-py" / "all_runs.zip", files)
    assert damage(read_runs, tmp_path) == (path, "run02")


def test_a_file_at_a_place_of_another_data_set(tmp_path: Path) -> None:
    path = write_zip(write_all(tmp_path) / "omniglot-py" / "images_background_small2.zip", {"a/b.png": encode(draw(1))})
    assert damage(read_drawings, tmp_path) == (path, "a/b.png")


def test_without_network_the_file_to_put_there_is_named(tmp_path: Path) -> None:
    assert missing_file(Omniglot().load, tmp_path) == tmp_path / "omniglot-py" / "images_background_small1.zip"
    assert missing_file(read_runs, tmp_path) == tmp_path / "omniglot-py" / "all_runs.zip"
