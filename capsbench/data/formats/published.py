"""What data sets published as a training set and a test set share: their files, and a validation set held out of the one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from capsbench.data.base import Dataset
from capsbench.data.download import download
from capsbench.data.draws import hold_out
from capsbench.data.files import REMEDY, DataFile
from capsbench.data.images import Augmentation, Images, Splits
from capsbench.errors import Kind, UsageError

if TYPE_CHECKING:
    from torch import Tensor


class PublishedSet(Dataset):
    """A published training set and test set of bytes; ``validation`` of the training images are held out, stratified.

    The held-out images are the same ones in every experiment. Files that are there are only read, so the data folder may be
    read-only; those that are not are downloaded.
    """

    validation: ClassVar[int] = 5000

    augmentations: ClassVar[tuple[Augmentation, ...]] = ()

    def load(self, folder: Path) -> Splits:
        train, test = self.read(fetched(self.files, folder))
        rest, validation = hold_out(train, self.validation)
        return Splits(_scaled(rest), _scaled(validation), _scaled(test), augmentations=self.augmentations)

    @abstractmethod
    def read(self, paths: Sequence[Path]) -> tuple[Images, Images]:
        """Training and test set: images ``[N, C, H, W]`` of uint8 and labels ``[N]`` of int64.

        Args:
            paths: where each of ``files`` lies, as published or decompressed.

        Raises:
            UsageError: a file is damaged, or another one.
        """


def fetched(files: Sequence[DataFile], folder: Path) -> list[Path]:
    """Where each file lies, as published or decompressed; those that are not in the data folder are downloaded.

    Those that are there are held against what is known of them before they are used: their sizes and MD5 sums.

    Raises:
        UsageError: one is not to be had, and the line names the others that are missing too; or one is not as published.
    """
    missing = [file for file in files if file.found(folder) is None]
    for done, file in enumerate(missing, start=1):
        try:
            download(file, folder)
        except UsageError as error:
            if others := ", ".join(other.path for other in missing[done:]):
                error.problem += f"; missing as well: {others}"
            raise
    paths = [file.found(folder) or folder / file.path for file in files]
    for file, path in zip(files, paths, strict=True):
        file.check(path)
    return paths


def damaged_file(file: Path, problem: str, value: object = None) -> UsageError:
    """The error of a file that is not as published: the problem as a phrase, and the value found in its place."""
    return UsageError(Kind.DAMAGED, problem, file=file, value=value, expected=REMEDY)


def unreadable_file(file: Path, error: Exception) -> UsageError:
    """The error of a file that could not be read, with the reason in one line; its value is the size in bytes."""
    size, reason = file.stat().st_size, " ".join(str(error).split()) or type(error).__name__
    return damaged_file(file, f"cannot be read ({size} bytes): {reason}", size)


def check_labels(labels: Tensor, path: Path, classes: int, count: int, first: int = 0) -> None:
    """Raises UsageError unless a file holds ``count`` labels, those of so many ``classes`` from ``first`` on."""
    if len(labels) != count:
        raise damaged_file(path, f"expected {count} labels, as published, found {len(labels)}", len(labels))
    low, high = labels.aminmax()
    last = first + classes - 1
    if low < first or high > last:
        wrong = int(low if low < first else high)
        raise damaged_file(path, f"expected labels from {first} to {last}, found {wrong}", wrong)


def centre(images: Tensor, height: int, width: int) -> Tensor:
    """The window ``[..., height, width]`` in the middle of images ``[..., H, W]``."""
    top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
    return images[..., top : top + height, left : left + width].contiguous()


def _scaled(images: Images) -> Images:
    """From bytes to float32 in [0, 1]."""
    return images._replace(images=images.images.float().div_(255))
