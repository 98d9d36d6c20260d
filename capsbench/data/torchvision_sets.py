"""What MNIST and the data sets published in its form share: torchvision's folders and downloads."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar

from capsbench.data.base import Dataset, Images, Splits, hold_out
from capsbench.data.idx import IMAGES, LABELS, read_idx
from capsbench.errors import UsageError
from capsbench.shapes import ImageShape

SECONDS = 30
"""A server that is silent for this long is taken for no network; torchvision by itself waits without end."""

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class TorchvisionSet(Dataset):
    """Four IDX files in ``FOLDER/NAME/raw``, compressed (``.gz``) or not; those that are not there are downloaded.

    The test set is the published one; ``validation`` of the training images are held out, always the same ones.
    Files that are there are only read, so the folder may be read-only.
    """

    name: ClassVar[str]
    """The class in `torchvision.datasets`, which also names the folder."""

    validation: ClassVar[int] = 5000

    image = ImageShape(1, 28, 28)
    classes = 10
    epochs = 10
    shift = 2

    def load(self, folder: Path) -> Splits:
        raw = folder / self.name / "raw"
        missing = [file for file in FILES if _found(raw, file) is None]
        if missing:
            self._download(raw, missing)
        train = self._read(raw, *FILES[:2])
        test = self._read(raw, *FILES[2:])
        if len(train.labels) < self.validation + self.classes:
            raise UsageError(
                f"{raw}: {len(train.labels)} training images, too few to hold out {self.validation} for validation"
            )
        rest, validation = hold_out(train, self.validation)
        return Splits(_scaled(rest), _scaled(validation), _scaled(test))

    def _read(self, raw: Path, images_file: str, labels_file: str) -> Images:
        """Images ``[N, 1, 28, 28]``, still of uint8, and labels ``[N]``."""
        images_path, labels_path = _found(raw, images_file), _found(raw, labels_file)
        assert images_path
        assert labels_path
        images, labels = read_idx(images_path, IMAGES), read_idx(labels_path, LABELS)
        if images.shape[1:] != self.image[1:] or len(images) != len(labels) or len(labels) == 0:
            size = f"{self.image.height}x{self.image.width}"
            found = " x ".join(map(str, images.shape))
            raise UsageError(
                f"{images_path}: expected an image of {size} pixels for each of the {len(labels)} labels in "
                f"{labels_path.name}, found {found}"
            )
        if labels.max() >= self.classes:
            raise UsageError(f"{labels_path}: expected labels from 0 to {self.classes - 1}, found {labels.max()}")
        return Images(images.unsqueeze(1), labels.long())

    def _download(self, raw: Path, missing: list[str]) -> None:
        """Adds what is missing once torchvision has it all, MD5 sums checked; a failed download leaves no trace."""
        from torchvision import datasets  # takes longer to import than the files to read

        try:
            with tempfile.TemporaryDirectory() as elsewhere:
                with _impatient():
                    getattr(datasets, self.name)(elsewhere, download=True)
                raw.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(prefix="download-", dir=raw) as beside:
                    for file in missing:
                        copy = shutil.copy(Path(elsewhere) / self.name / "raw" / file, beside)
                        Path(copy).replace(raw / file)
        except (OSError, RuntimeError, EOFError, HTTPException) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise UsageError(
                f"{self.name} is not in the data folder and cannot be downloaded ({reason}): "
                f"put {', '.join(file + '.gz' for file in missing)} into {raw}, as published or decompressed "
                f"without .gz, or name another folder by --data-dir or $CAPSBENCH_DATA"
            ) from error


def _found(raw: Path, file: str) -> Path | None:
    return next((path for path in (raw / file, raw / f"{file}.gz") if path.is_file()), None)


def _scaled(images: Images) -> Images:
    """From bytes to float32 in [0, 1]."""
    return images._replace(images=images.images.float().div_(255))


@contextmanager
def _impatient() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
