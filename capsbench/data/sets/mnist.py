"""MNIST (LeCun, Cortes, Burges 1998)."""

from __future__ import annotations

from capsbench.data.formats.idx import IDXSet, idx_files


class MNIST(IDXSet):
    """Handwritten digits: 55,000 for training, 5,000 for validation, the published 10,000 for the test.

    Shifts of up to 2 pixels are those of Sabour 2017, section 5.
    """

    files = idx_files(
        "MNIST",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
        (1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
        (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
        decompressed=(
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        ),
    )
    out_of_distribution = ("fashion-mnist", "kmnist", "notmnist", "notmnist-10k", "omniglot")
    licence = "CC BY-SA 3.0"
    source = "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition. Proc. IEEE 1998"
