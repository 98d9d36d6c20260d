"""The measure of corruptions: its errors by a network that counts ink, its images, and where it applies."""

import numpy as np
import pytest
import torch
from torch import nn

from capsbench.measures.corruption import mnist_c
from capsbench.measures.corruption.benchmarks import BENCHMARKS, corrupt_images
from capsbench.measures.corruption.measure import SHAPES, Corruption
from capsbench.measures.corruption.spec import IMAGES


class Bright(nn.Module):
    """Class 1 of images that are brighter than 0.3 on average; it remembers what it saw."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        grey = images.mean(dim=(1, 2, 3)) - 0.3
        return torch.stack([-grey, grey], dim=1)


@pytest.fixture
def measured(subject, make_cell):
    def measure(dataset, images, labels, setting=None, **request):
        network, kept = Bright(), {}
        made = subject(make_cell(dataset=dataset, network="resnet", **request), network, images, labels, kept)
        return Corruption(setting)(made), kept, network.seen

    return measure


def test_errors_of_grey_images_are_those_of_each_corruption(measured):
    images = torch.zeros(6, 1, 28, 28)
    images[3:] = 0.2
    rows, kept, seen = measured("mnist", images, torch.zeros(6, dtype=torch.int64))
    values = {(row.metric, row.condition): row.value for row in rows}
    assert all(row.level is None for row in rows)
    assert (values["error", "clean"], values["error", "brightness"]) == (0, 1)
    assert values["error", "stripe"] == 1  # of zeros a half is 1, of 0.2 a half is 0.8
    assert values["error", "shear"] == values["error", "scale"] == 0
    for place, name in enumerate(mnist_c.CORRUPTIONS):
        wrong = seen[1 + place].mean(dim=(1, 2, 3)) > 0.3
        assert torch.equal(kept["wrong"][:, place, 0], wrong)
        assert values["error", name] == values["mean error", name] == pytest.approx(float(wrong.double().mean()))
    assert values["mean error", "mean"] == pytest.approx(float(kept["wrong"].double().mean()))


def test_errors_of_colour_images_are_at_five_severities(measured):
    draw = torch.Generator().manual_seed(0)
    images = (0.5 * torch.rand(3, 3, 32, 32, generator=draw)).mul(255).round() / 255
    rows, kept, _ = measured("cifar10", images, torch.zeros(3, dtype=torch.int64))
    assert kept["wrong"].shape == (3, 13, 5)
    bright = {row.level: row.value for row in rows if (row.metric, row.condition) == ("error", "brightness")}
    assert bright.keys() == {1, 2, 3, 4, 5}
    assert list(bright.values()) == sorted(bright.values())
    (mean,) = (row.value for row in rows if (row.metric, row.condition) == ("mean error", "brightness"))
    assert mean == pytest.approx(np.mean(list(bright.values())))


def test_the_corruption_of_an_image_depends_on_its_place_alone(measured):
    images = torch.rand(4, 28, 28, generator=torch.Generator().manual_seed(0)).double().numpy()
    (benchmark,) = (value for shape, value in BENCHMARKS.items() if shape.channels == 1)
    everything = corrupt_images(benchmark, images, [0, 1, 2, 3], "shot_noise", 0)
    some = corrupt_images(benchmark, images[[2, 1]], [2, 1], "shot_noise", 0)
    assert np.array_equal(some, everything[[2, 1]])
    same = corrupt_images(benchmark, images[[0, 0]], [0, 1], "shot_noise", 0)
    assert not np.array_equal(*same)


def test_a_setting_takes_a_draw_of_the_test_images_or_all(measured, monkeypatch):
    assert IMAGES == {"light": 2000, "full": None, "quick": 200}
    monkeypatch.setitem(IMAGES, "light", 20)
    monkeypatch.setitem(IMAGES, "quick", 10)
    shape = next(shape for shape in BENCHMARKS if shape.channels == 1)
    monkeypatch.setitem(BENCHMARKS, shape, BENCHMARKS[shape]._replace(names=("stripe",)))
    images, labels = torch.zeros(25, 1, 28, 28), torch.arange(25) % 10
    taken = {setting: measured("mnist", images, labels, setting)[1]["image"] for setting in Corruption.settings}
    assert {setting: len(which) for setting, which in taken.items()} == {"light": 20, "full": 25, "quick": 10}
    assert len((taken["quick"] % 10).unique()) == 10  # one of each class


def test_it_applies_to_images_of_the_size_of_a_benchmark(make_cell):
    assert {*SHAPES} == BENCHMARKS.keys()
    for name, applies in {"cifar10": True, "fashion-mnist": True, "digits": False, "cifar10-24": False}.items():
        assert Corruption.applies_to(make_cell(dataset=name)) == applies
    assert not Corruption.applies_to(make_cell(network="conditional-autoencoder"))


def test_images_of_float64_and_bfloat16_are_given_as_the_network_takes_them(measured):
    images = torch.zeros(2, 1, 28, 28, dtype=torch.float64)
    _, _, seen = measured("mnist", images, torch.zeros(2, dtype=torch.int64), precision="float64")
    assert {shown.dtype for shown in seen} == {torch.float64}
