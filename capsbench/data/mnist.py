"""MNIST (LeCun, Cortes, Burges 1998)."""

from __future__ import annotations

from capsbench.data.torchvision_sets import TorchvisionSet


class MNIST(TorchvisionSet):
    """Handwritten digits: 55,000 to train on, 5,000 for validation, the published 10,000 to test.

    Shifts of up to 2 pixels are those of Sabour 2017, section 5.
    """

    name = "MNIST"
