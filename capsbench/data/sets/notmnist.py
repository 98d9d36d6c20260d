"""notMNIST (Bulatov 2011): the letters A to J of many typefaces, 28x28 like MNIST's digits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from capsbench.data.base import Dataset
from capsbench.data.draws import hold_out
from capsbench.data.files import Archive, DataFile
from capsbench.data.formats.idx import FILES, read_idx_pair
from capsbench.data.formats.png_archive import read_grey_pngs
from capsbench.data.formats.published import check_labels, fetch_files, scale_pixels
from capsbench.data.images import Images, ImageShape, Splits
from capsbench.data.lazy import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

LETTERS = "ABCDEFGHIJ"

BROKEN = ("RGVtb2NyYXRpY2FCb2xkT2xkc3R5bGUgQm9sZC50dGY=.png", "Q3Jvc3NvdmVyIEJvbGRPYmxpcXVlLnR0Zg==.png")
"""Files of the published archive that hold no image, one of A and one of F."""


class NotMNIST(Dataset):
    """Letters from A to J, 1x28x28: 12,724 for training, 1,000 for validation, 5,000 for the test.

    These are the 18,724 images of notMNIST_small, whose labels its author checked by hand. The split is a fixed stratified one,
    since none is published. For a network of digits, the letters are images of no class that it knows.
    """

    image = ImageShape(1, 28, 28)
    classes = len(LETTERS)
    class_names = tuple(LETTERS)
    shift = 2
    files: tuple[DataFile, ...] = (
        Archive(
            "notMNIST/notMNIST_small.tar.gz",
            "http://yaroslavvb.com/upload/notMNIST/notMNIST_small.tar.gz",
            8_458_043,
            folder="notMNIST/notMNIST_small",
            members=tuple(LETTERS),
        ),
    )
    licence = "none stated"
    source = "Bulatov: notMNIST dataset. http://yaroslavvb.blogspot.com/2011/09/notmnist-dataset.html, 2011"

    count: ClassVar[int] = 18_724
    validation: ClassVar[int] = 1000
    test: ClassVar[int] = 5000

    @property
    def image_counts(self) -> Mapping[str, int]:  # type: ignore[override]
        """Number of images of each part."""
        train = self.count - self.validation - self.test
        return {"train": train, "validation": self.validation, "test": self.test}

    def load(self, folder: Path) -> Splits:
        letters = scale_pixels(self.read_letters(fetch_files(self.files, folder)))
        rest, test = hold_out(letters, self.test)
        train, validation = hold_out(rest, self.validation)
        return Splits(train, validation, test)

    def read_letters(self, paths: Sequence[Path]) -> Images:
        """Reads all images ``[N, 1, 28, 28]`` of uint8 and their labels ``[N]``, 0 for A."""
        letters = read_grey_pngs(paths[0], self.image.height, left_out=BROKEN)
        label_of = {letter: label for label, letter in enumerate(LETTERS)}
        labels = torch.tensor([label_of.get(PurePosixPath(name).parent.name, -1) for name in letters])
        check_labels(labels, paths[0], self.classes, self.count)
        return Images(torch.from_numpy(np.stack(list(letters.values()))).unsqueeze(1), labels)


class NotMNIST10k(NotMNIST):
    """10,000 of notMNIST's letters in MNIST's format: 4,000 for training, 1,000 for validation, 5,000 for the test.

    They are the test set of a published conversion of notMNIST, with 1,000 images of each letter. Its training set is not used.
    """

    files = tuple(
        DataFile(
            f"notMNIST/raw/{file}.gz",
            f"https://raw.githubusercontent.com/davidflanagan/notMNIST-to-MNIST/master/{file}.gz",
            size,
            md5,
        )
        for file, size, md5 in zip(
            FILES[2:],
            (3_172_375, 5_118),
            ("2c87c839a4ef9b238846600eec8c35b7", "7ea9118cbafd0f6e3ee2ad771d782a01"),
            strict=True,
        )
    )
    count = 10_000

    def read_letters(self, paths: Sequence[Path]) -> Images:
        return read_idx_pair(paths[0], paths[1], self.image, self.classes, self.count)
