"""Base class of data sets published as a training set and a test set: file checks and a held-out validation set."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from capsbench.data.base import Dataset
from capsbench.data.download import download_file
from capsbench.data.draws import hold_out
from capsbench.data.files import REMEDY, DataFile
from capsbench.data.images import Augmentation, Images, Splits
from capsbench.errors import Kind, UsageError

if TYPE_CHECKING:
    from torch import Tensor


class PublishedSet(Dataset):
    """A published training set and test set, with ``validation`` training images held out by a stratified draw.

    The held-out images are the same in every experiment. Missing files are downloaded. If none is missing, nothing is written,
    so the data folder may be read-only.
    """

    validation: ClassVar[int] = 5000

    counts: ClassVar[tuple[int, int]]
    """Numbers of training and test images, as published."""

    white: ClassVar[int] = 255
    """The value of a pixel of 1 in the files."""

    augmentations: ClassVar[tuple[Augmentation, ...]] = ()

    @property
    def image_counts(self) -> Mapping[str, int]:  # type: ignore[override]
        """Number of images of each part."""
        train, test = self.counts
        return {"train": train - self.validation, "validation": self.validation, "test": test}

    def load(self, folder: Path) -> Splits:
        train, test = self.read_parts(fetch_files(self.files, folder))
        rest, validation = hold_out(train, self.validation)
        train, validation, test = (scale_pixels(part, self.white) for part in (rest, validation, test))
        return Splits(train, validation, test, augmentations=self.augmentations)

    @abstractmethod
    def read_parts(self, paths: Sequence[Path]) -> tuple[Images, Images]:
        """Reads training and test set: images ``[N, C, H, W]`` from 0 to ``white`` and labels ``[N]`` of int64.

        Args:
            paths: the path of each of ``files``, as published or decompressed.

        Raises:
            UsageError: a file is damaged, or is another file.
        """


def fetch_files(files: Sequence[DataFile], folder: Path) -> list[Path]:
    """Returns the path of each file, as published or decompressed. Downloads missing files.

    Sizes and MD5 sums are checked as far as known.

    Raises:
        UsageError: a file cannot be downloaded (the message lists other missing files), or is not as published.
    """
    missing = [file for file in files if file.find_in(folder) is None]
    for done, file in enumerate(missing, start=1):
        try:
            download_file(file, folder)
        except UsageError as error:
            if others := ", ".join(other.path for other in missing[done:]):
                error.problem += f"; also missing: {others}"
            raise
    paths = [file.find_in(folder) or folder / file.path for file in files]
    for file, path in zip(files, paths, strict=True):
        file.check_content(path)
    return paths


def damaged_file(file: Path, problem: str, value: object = None) -> UsageError:
    """Returns the error of a file that is not as published: the problem as a phrase, and the value found instead."""
    return UsageError(Kind.DAMAGED, problem, file=file, value=value, expected=REMEDY)


def unreadable_file(file: Path, error: Exception) -> UsageError:
    """Returns the error of a file that cannot be read, with the reason in one line. Its value is the size in bytes."""
    size, reason = file.stat().st_size, " ".join(str(error).split()) or type(error).__name__
    return damaged_file(file, f"cannot be read ({size} bytes): {reason}", size)


def check_labels(labels: Tensor, path: Path, classes: int, count: int, first: int = 0) -> None:
    """Raises UsageError unless a file holds ``count`` labels from ``first`` to ``first + classes - 1``."""
    if len(labels) != count:
        raise damaged_file(path, f"expected {count} labels, as published, found {len(labels)}", len(labels))
    low, high = labels.aminmax()
    last = first + classes - 1
    if low < first or high > last:
        wrong = int(low if low < first else high)
        raise damaged_file(path, f"expected labels from {first} to {last}, found {wrong}", wrong)


def crop_centre(images: Tensor, height: int, width: int) -> Tensor:
    """Returns the central window ``[..., height, width]`` of images ``[..., H, W]``."""
    top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
    return images[..., top : top + height, left : left + width].contiguous()


def scale_pixels(images: Images, white: int = 255) -> Images:
    """Converts pixels from 0 to ``white`` to float32 in [0, 1]."""
    return images._replace(images=images.images.float().div_(white))
