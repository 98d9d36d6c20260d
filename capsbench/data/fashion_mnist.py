"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017)."""

from __future__ import annotations

from capsbench.data.torchvision_sets import TorchvisionSet


class FashionMNIST(TorchvisionSet):
    """Clothes in MNIST's form: 55,000 to train on, 5,000 for validation, the published 10,000 to test.

    The capsule papers do not use it; shifts of up to 2 pixels are taken over from MNIST so that the two compare.
    """

    name = "FashionMNIST"
