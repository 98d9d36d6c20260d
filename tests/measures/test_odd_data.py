"""Every measure on data that there is little of: one image or a few, one class or two."""

import math
from functools import cache

import pytest
import torch

from capsbench import registry
from capsbench.data.base import Dataset
from capsbench.data.images import Images, ImageShape, Splits
from capsbench.data.sets.omniglot import read_drawings
from capsbench.measures.base import MeasureBetween
from capsbench.measures.build import make_measure, measures_of
from capsbench.networks.build import build_network
from capsbench.running.cell_job import check_rows

ATTACKS = {"adversarial", "detection", "routing-robustness", "transfer"}


class Odd(Dataset):
    image = ImageShape(1, 8, 8)
    classes = 10

    def load(self, folder):
        images = Images(torch.rand(6, *self.image), torch.arange(6) % self.classes)
        return Splits(images, images, images)


class OneClass(Odd):
    classes = 1


class TwoClasses(Odd):
    classes = 2


@pytest.fixture
def cell_on(make_cell, monkeypatch):
    """A cell on one of the data sets above."""

    def on(dataset, **request):
        monkeypatch.setitem(registry.BUILT_IN["dataset"], "odd", f"{__name__}:{dataset.__name__}")
        return make_cell(dataset="odd", **request)

    return on


def applied_to(cell):
    """All measures that apply to a cell but speed, which looks at training images and the clock."""
    return {*measures_of(cell, ("all",))} - {"speed"}


@pytest.fixture(scope="module")
def read_once():
    """Reads the drawings of the few-shot measure, where they are, once for all tests: it takes a second."""
    return cache(read_drawings)


@pytest.fixture
def rows_of(subject, monkeypatch, read_once):
    """The rows of a measure of an untrained network, in its least setting, on the first so many images of a data set."""
    monkeypatch.setattr("capsbench.measures.few_shot.measure.read_drawings", read_once)

    def measured(name, cell, dataset, count):
        measure = make_measure(f"{name}:quick" if "quick" in registry.get("measure", name).settings else name)
        torch.manual_seed(0)
        network = build_network(cell)
        part = dataset().load(None).test
        made = subject(cell, network, part.images[:count], part.labels[:count])
        rows = measure.between(made, [made])[0] if isinstance(measure, MeasureBetween) else measure(made)
        return check_rows(name, rows)

    return measured


@pytest.mark.parametrize(("network", "count"), [("capsnet", 1), ("capsnet", 2), ("capsnet", 3), ("resnet", 1)])
def test_every_measure_gives_numbers_of_few_images(cell_on, rows_of, network, count):
    cell = cell_on(Odd, network=network)
    taken = {name: rows_of(name, cell, Odd, count) for name in applied_to(cell)}
    assert {"accuracy", "adversarial", "affine", "equivariance", "transfer"} <= taken.keys()
    assert [name for name, rows in taken.items() if not rows] == []
    assert {row.metric for row in taken["equivariance"]} == {"consistency"}


@pytest.mark.parametrize("dataset", [OneClass, TwoClasses])
def test_every_measure_that_applies_gives_numbers_of_few_classes(cell_on, rows_of, dataset):
    cell = cell_on(dataset)
    applied = applied_to(cell)
    assert ATTACKS & applied == (ATTACKS if dataset.classes > 1 else set())  # of one class there is none to mislead to
    assert {"accuracy", "affine", "equivariance"} <= applied
    for name in applied:
        rows = rows_of(name, cell, dataset, 6)
        assert rows
        assert all(math.isfinite(row.value) for row in rows)


def test_equivariance_fits_from_four_images_on(cell_on, rows_of):
    cell = cell_on(Odd)
    assert {row.metric for row in rows_of("equivariance", cell, Odd, 4)} == {"consistency", "map error", "R^2"}


def test_detection_without_an_image_that_is_right_has_its_threshold_alone(cell_on, subject):
    cell = cell_on(Odd)
    torch.manual_seed(0)
    network, images = build_network(cell).eval(), torch.rand(3, 1, 8, 8)
    wrong, kept = (network(images).argmax(dim=1) + 1) % 10, {}
    rows = make_measure("detection:quick")(subject(cell, network, images, wrong, kept))
    assert [(row.metric, row.condition) for row in rows] == [("threshold", "validation"), ("false positives", "test")]
    assert kept["shown"].shape == (0, 2, 1, 8, 8)
