"""Networks that were trained on images of one's own: their classes are on record, and in an exported folder."""

import shutil

import numpy as np
import pytest
from PIL import Image

import capsbench as python_api
from capsbench.data.base import load_splits
from capsbench.data.own.described import describe_images
from capsbench.errors import Kind, UsageError
from capsbench.records.cell import IMAGES
from capsbench.records.parts import forget_datasets
from capsbench.sources import locations

CLASSES = ("apple", "pear", "plum")


@pytest.fixture(scope="module")
def made(tmp_path_factory, one_process):
    """A folder with images in three classes, a network that was trained on them for an epoch, and its export for a hub."""
    folder = tmp_path_factory.mktemp("own")
    generator = np.random.default_rng(0)
    for name in CLASSES:
        (folder / "fruit" / name).mkdir(parents=True)
        for number in range(12):
            pixels = generator.integers(0, 256, (20, 24, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "fruit" / name / f"{number}.png")
    with one_process():
        python_api.run(
            dataset=f"folder:{folder / 'fruit'}", resize="16", crop="16", routing="dynamic", iters=1, kernel=5, epochs=1,
            seeds=0, baseline="none", measure="accuracy", out=folder / "results",
        )  # fmt: skip
    python_api.export(folder / "results", "hub", folder / "hub")
    return folder


@pytest.fixture
def copied(made, tmp_path, monkeypatch):
    """A copy of the folder at another place, in a process that does not know the first one; its images are there."""
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.setattr(locations, "_locations", {})
    monkeypatch.chdir(tmp_path / "copy")
    forget_datasets()
    yield tmp_path / "copy"
    forget_datasets()


def test_its_classes_have_their_names_and_its_test_images_the_predictions_on_record(made):
    network = python_api.network(made / "results")
    assert network.classes == CLASSES
    assert network.image == (3, 16, 16)
    table = python_api.predictions(made / "results")
    name = locations.locate(f"folder:{made / 'fruit'}")
    test = load_splits(name, made, options=network.cell.component_options("dataset")).test.images
    assert [prediction.numbers[0] for prediction in network.predict(test)] == table["prediction"].tolist()


def test_a_folder_of_a_hub_needs_no_images(made, copied):
    files = sorted((made / "fruit" / "pear").glob("*.png"))
    expected = [prediction.scores for prediction in python_api.network(made / "results").predict(files)]
    shutil.rmtree(copied / "fruit")
    network = python_api.network(copied / "hub")
    assert network.classes == CLASSES
    assert [prediction.scores for prediction in network.predict(files)] == expected
    assert python_api.export(copied / "hub", "safetensors", copied / "a.safetensors").checked.difference == 0


def test_its_classes_are_on_record_whatever_became_of_the_images(made, copied):
    files = sorted((made / "fruit" / "pear").glob("*.png"))
    expected = [prediction.scores for prediction in python_api.network(made / "results").predict(files)]
    locations.locate(f"folder:{copied / 'fruit'}")
    (copied / "fruit" / "apple").rename(copied / "fruit" / "quince")
    for _ in ("other images", "none"):
        forget_datasets()
        network = python_api.network(copied / "results")
        assert network.classes == CLASSES
        assert [prediction.scores for prediction in network.predict(files)] == expected
        shutil.rmtree(copied / "fruit", ignore_errors=True)
    with pytest.raises(UsageError) as caught:
        load_splits(network.cell.dataset, copied, options=network.cell.component_options("dataset"))
    assert (caught.value.kind, caught.value.flag) == (Kind.MISSING, "dataset")


@pytest.mark.parametrize("facts", [{}, {"shape": "3x16"}, {"shape": "3x16x16", "0": "apple", "2": "plum"}])
def test_a_record_that_describes_its_images_otherwise_is_damaged(made, facts):
    cell = python_api.network(made / "results").cell
    with pytest.raises(UsageError) as caught:
        describe_images(cell, {IMAGES: facts})
    assert (caught.value.kind, caught.value.flag) == (Kind.DAMAGED, "CELL")
    assert describe_images(cell, {}) is None
