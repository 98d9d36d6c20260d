"""Kuzushiji-MNIST (Clanuwat et al. 2018)."""

from __future__ import annotations

from capsbench.data.formats.idx import IDXSet, idx_files


class KMNIST(IDXSet):
    """Cursive Japanese characters in MNIST's format: 55,000 for training, 5,000 for validation, 10,000 for the test.

    It is harder than MNIST, because a character has several written forms. The capsule papers do not use it. Shifts of up to 2
    pixels are those of MNIST, for comparability.
    """

    files = idx_files(
        "KMNIST",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        (18_165_135, "bdb82020997e1d708af4cf47b453dcf7"),
        (29_497, "e144d726b3acfaa3e44228e80efcd344"),
        (3_041_136, "5c965bf0a639b31b8f53240b1b52f4d7"),
        (5_120, "7320c461ea6c1c855c0b718fb2a4b134"),
    )
    out_of_distribution = ("mnist", "fashion-mnist", "notmnist", "notmnist-10k", "omniglot")
    licence = "CC BY-SA 4.0"
    source = "Clanuwat et al.: Deep learning for classical Japanese literature. arXiv:1812.01718, 2018"
