"""`capsbench predict` as a person types it."""

import json

import numpy as np
import pytest
from PIL import Image

from capsbench.data.base import load_splits
from capsbench.presenting.figures.style import COLUMN, DPI


@pytest.fixture(scope="module")
def pictures(trained):
    """Files of three test images, at four times their size."""
    for number, image in enumerate(load_splits("digits", None).test.images[:3]):
        pixels = (255 * image[0]).round().byte().numpy()
        Image.fromarray(np.kron(pixels, np.ones((4, 4), dtype=np.uint8))).save(trained / f"{number}.png")
    return ["0.png", "1.png", "2.png"]


def test_it_prints_the_best_classes_of_each_image_and_what_scores_are(capsbench, trained, pictures):
    done = capsbench("predict", "results", *pictures, "--cell", "dynamic", "--top", "2", cwd=trained)
    assert done.returncode == 0, done.stderr
    first, heading, _, *lines = done.stdout.splitlines()
    assert first.endswith(", capsnet dynamic x3 tiny, digits, seed 0")
    assert heading.split() == ["image", "┃", "class", "┃", "score"] or heading.split()[0] == "image"
    named = [line for line in lines if ".png" in line]
    assert [line.split()[0] for line in named] == pictures
    assert any("activations" in line and "need not add up to 1" in line for line in lines)
    assert "--out" in lines[-1]


def test_json_has_the_predictions_of_the_python_interface(capsbench, trained, pictures):
    import capsbench as python_api

    done = capsbench("predict", "results", *pictures, "--cell", "matched", "--json", "--top", "3", cwd=trained)
    said = json.loads(done.stdout)
    network = python_api.network("matched", trained / "results")
    assert (said["cell"], said["scores"], said["picture"]) == (network.cell.id, "probability", None)
    for entry, prediction in zip(said["images"], network.predict([trained / name for name in pictures]), strict=True):
        assert entry["prediction"] == prediction.label
        assert [one["class"] for one in entry["classes"]] == list(prediction.classes[:3])
        assert [one["score"] for one in entry["classes"]] == pytest.approx(list(prediction.scores[:3]))


@pytest.mark.parametrize(("cell", "name"), [("dynamic", "a.png"), ("matched", "b.svg")])
def test_a_picture_is_drawn(capsbench, trained, pictures, cell, name):
    done = capsbench("predict", "results", *pictures, "--cell", cell, "--out", name, cwd=trained)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"in {name}"
    if name.endswith("png"):
        with Image.open(trained / name) as image:
            assert image.width > image.height > 0
            assert image.width == round(COLUMN * DPI)  # three small images leave a page half empty
    else:
        text = (trained / name).read_text()
        assert "input" in text
        assert "reconstruction" not in text


def test_a_folder_and_a_cell_may_be_one_path(capsbench, trained, pictures):
    done = capsbench("predict", "results/matched", pictures[0], cwd=trained)
    assert done.returncode == 0, done.stderr
    assert "probabilities" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["results", "0.png", "nothing.png", "--cell", "dynamic"], ["IMAGE", "nothing.png", "no such file"]),
        (["results", "text.png", "--cell", "dynamic"], ["IMAGE", "text.png"]),
        (["results", "0.png", "--cell", "dinamic"], ["--cell", "'dinamic'", "'dynamic'"]),
        (["results", "0.png"], ["--cell", "2 cells"]),
        (["nowhere", "0.png"], ["FOLDER", "nowhere"]),
        (["results", "0.png", "--cell", "dynamic", "--out", "a.jpg"], ["--out", "'a.jpg'", ".png"]),
        (["results", "0.png", "--cell", "dynamic", "--out", "0.png/a.png"], ["--out"]),
        (["results", "0.png", "--cell", "dynamic", "--out", "./0.png"], ["--out", "one of the images"]),
        (["results", "0.png", "--top", "0"], ["--top"]),
        (["results"], ["IMAGE"]),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_one_line(capsbench, trained, pictures, arguments, facts):
    (trained / "text.png").write_text("no image")
    done = capsbench("predict", *arguments, cwd=trained)
    assert (done.returncode, done.stdout) == (2, "")
    assert [fact for fact in facts if fact not in done.stderr] == []
    assert len(done.stderr.splitlines()) == 1
