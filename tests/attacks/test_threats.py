"""What threats bound, and the epsilons of data sets."""

import pytest
import torch

from capsbench import registry
from capsbench.attacks.threats import Threat, bounds_of


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


def test_published_settings():
    mnist, cifar = bounds_of("mnist", Threat.LINF), bounds_of("cifar10", Threat.LINF)
    assert (mnist.published, mnist.steps, mnist.step * mnist.published) == (0.3, 40, pytest.approx(0.01))
    assert (cifar.published, cifar.steps, cifar.step * cifar.published) == (8 / 255, 20, pytest.approx(2 / 255))
    assert bounds_of("cifar10", Threat.L2).published == 0.5
    assert bounds_of("fashion-mnist", Threat.LINF).published == 0.1
    assert bounds_of("mnist", Threat.BLACK_BOX) == mnist
