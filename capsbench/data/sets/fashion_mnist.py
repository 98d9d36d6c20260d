"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017)."""

from __future__ import annotations

from capsbench.data.formats.idx import IDXSet, idx_files


class FashionMNIST(IDXSet):
    """Clothes in MNIST's format: 55,000 for training, 5,000 for validation, the published 10,000 for the test.

    The capsule papers do not use it. Shifts of up to 2 pixels are those of MNIST, for comparability.
    """

    class_names = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
    files = idx_files(
        "FashionMNIST",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
        (4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
        (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
        decompressed=(
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a",
            "15d484375f8d13e6eb1aabb0c3f46965",
        ),
    )
    out_of_distribution = ("mnist", "kmnist", "notmnist", "notmnist-10k", "omniglot")
    licence = "MIT"
    source = "Xiao, Rasul, Vollgraf: Fashion-MNIST, a novel image dataset for benchmarking. arXiv:1708.07747, 2017"
