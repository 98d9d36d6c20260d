"""What threats bound, and the epsilons of data sets."""

import pytest
import torch

from capsbench import registry
from capsbench.attacks.threats import Bounds, Threat, bounds_of, can_be_misled
from capsbench.data.base import Dataset
from capsbench.data.images import ImageShape


def test_what_each_threat_bounds():
    images = torch.zeros(2, 2, 2, 2)
    others = images.clone()
    others[1, 0, 0, 0], others[1, 1, 0, 0], others[1, 1, 1, 1] = 0.3, -0.4, 1.2
    expected = {"Linf": 1.2, "L2": 1.3, "L0": 2, "black box": 1.2}  # both channels changed at one position count once
    for threat in Threat:
        torch.testing.assert_close(threat.measure_distance(images, others), torch.tensor([0.0, expected[threat]]))


@pytest.mark.parametrize("dataset", [*registry.BUILT_IN["dataset"], "my.module:Own"])
@pytest.mark.parametrize("threat", list(Threat))
def test_every_data_set_has_bounds_whose_sweep_holds_the_published_and_the_headline(dataset, threat):
    bounds = bounds_of(dataset, threat)
    assert list(bounds.sweep) == sorted(bounds.sweep)
    assert {bounds.published, bounds.headline} <= set(bounds.sweep)


def test_a_position_counts_once_in_whichever_channels_it_is_changed():
    images = torch.zeros(1, 3, 2, 3)
    others = images.clone()
    others[0, :, 0, 0], others[0, 1, 1, 2] = 0.5, 0.1
    assert Threat.L0.measure_distance(images, others).tolist() == [2]


BOUNDS = {
    "mnist": [(0.025, 0.05, 0.1, 0.2, 0.3), (0.25, 0.5, 1.0, 2.0), 0.05, 0.5],
    "fashion-mnist": [(0.0125, 0.025, 0.05, 0.1), (0.25, 0.5, 1.0, 1.5), 0.025, 0.25],
    "cifar10": [tuple(k / 255 for k in (0.5, 1, 2, 4, 8)), (0.0625, 0.125, 0.25, 0.5), 1 / 255, 0.125],
    "smallnorb": [(0.025, 0.05, 0.1, 0.2), (0.25, 0.5, 1.0, 2.0), 0.05, 0.5],
    "digits": [(0.025, 0.05, 0.1, 0.2), (0.25, 0.5, 1.0, 1.5), 0.05, 0.5],
}
"""Data set -> its epsilons under Linf and L2, and the headline of each."""


@pytest.mark.parametrize("dataset", BOUNDS)
def test_the_epsilons_of_each_kind_of_data(dataset):
    linf, l2 = bounds_of(dataset, Threat.LINF), bounds_of(dataset, Threat.L2)
    assert [linf.sweep, l2.sweep, linf.headline, l2.headline] == BOUNDS[dataset]
    assert linf.published == {"digits": 0.1}.get(dataset, linf.sweep[-1])
    assert l2.published == l2.sweep[-1]
    assert (l2.steps, l2.step) == (40, 2.5 / 40)
    assert bounds_of(dataset, Threat.L0) == Bounds((1, 3, 5), 1, 1)


@pytest.mark.parametrize(
    ("request_", "misled"),
    [
        ({}, True),
        ({"dataset": "multimnist"}, False),  # of two classes an image
        ({"network": "transforming-autoencoder", "dataset": "mnist"}, False),
    ],
)
def test_attacks_want_a_classifier_of_images_of_one_class(make_cell, request_, misled):
    assert can_be_misled(make_cell(**request_)) is misled


class OneClass(Dataset):
    image, classes = ImageShape(1, 8, 8), 1

    def load(self, folder):
        raise AssertionError("only what the data set declares is read")


class TwoClasses(OneClass):
    classes = 2


@pytest.mark.parametrize(("dataset", "misled"), [(OneClass, False), (TwoClasses, True)])
def test_of_one_class_alone_no_attack_can_lead_to_another(make_cell, monkeypatch, dataset, misled):
    monkeypatch.setitem(registry.BUILT_IN["dataset"], "few-classes", f"{__name__}:{dataset.__name__}")
    assert can_be_misled(make_cell(dataset="few-classes")) is misled


def test_published_settings():
    mnist, cifar = bounds_of("mnist", Threat.LINF), bounds_of("cifar10", Threat.LINF)
    assert (mnist.published, mnist.steps, mnist.step * mnist.published) == (0.3, 40, pytest.approx(0.01))
    assert (cifar.published, cifar.steps, cifar.step * cifar.published) == (8 / 255, 20, pytest.approx(2 / 255))
    assert bounds_of("cifar10", Threat.L2).published == 0.5
    assert bounds_of("fashion-mnist", Threat.LINF).published == 0.1
    assert bounds_of("mnist", Threat.BLACK_BOX) == mnist
