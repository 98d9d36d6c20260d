"""The convolutional networks that capsule networks are compared with; usable on their own, with torch alone.

    from capsbench_baselines import MatchedCNN
    network = MatchedCNN((1, 28, 28), 10, parameters=310_000)
    logits = network(images)                      # [B, 1, 28, 28] -> [B, 10]

`SabourCNN` and `HintonCNN` are the baselines of the two papers, by default in the published sizes. They have 5 and 14 times
the parameters of the papers' capsule networks. `MatchedCNN` is a plain CNN of any number of parameters from about 2,000, for a
comparison at equal size. `AveragePoolingCNN` is the CNN that a later paper compares with CapsNet. `AllConvolutionalCNN` and
`ResNet` are the usual baselines outside the capsule literature. With ``parameters=310_000`` each of the five gets widths that
give this number, in about its own proportions.

Every class takes ``(image, classes, *, options)`` with ``image`` as (channels, height, width), and maps images ``[B, C, H, W]``
to logits ``[B, classes]``. Its ``sizes(image)`` returns the options of the sizes tiny, small and paper. No class reads data or
weights when it is built, so all can be built on torch's meta device.
"""

from capsbench_baselines.errors import ArgumentError, UnmetParameters
from capsbench_baselines.gu2021 import AveragePoolingCNN
from capsbench_baselines.he2016 import ResNet
from capsbench_baselines.hinton2018 import HintonCNN
from capsbench_baselines.matched import MatchedCNN
from capsbench_baselines.sabour2017 import SabourCNN
from capsbench_baselines.springenberg2014 import AllConvolutionalCNN

__all__ = [
    "AllConvolutionalCNN",
    "ArgumentError",
    "AveragePoolingCNN",
    "HintonCNN",
    "MatchedCNN",
    "ResNet",
    "SabourCNN",
    "UnmetParameters",
]
