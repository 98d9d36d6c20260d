"""CIFAR-10 (Krizhevsky 2009): small colour photographs, in the files of its Python version."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import tarfile
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from capsbench.data.augment import Crop, Flip
from capsbench.data.files import Archive
from capsbench.data.formats.bounded import Bounded
from capsbench.data.formats.published import PublishedSet, crop_centre, damaged_file, unreadable_file
from capsbench.data.images import Augmentation, Images, ImageShape, Splits
from capsbench.data.lazy import torch
from capsbench.data.prepare import resize_images

if TYPE_CHECKING:
    from torch import Tensor

PUBLISHED = ImageShape(3, 32, 32)
FOLDER = "cifar-10-batches-py"

BATCHES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
"""Name of a file -> its MD5 sum.

The files are pickles, which can run any code. So a file is unpickled only if it is the published one, bit for bit. This also
detects damaged and swapped files.
"""


LARGEST = 2**28
"""Limit of the decompressed bytes of the archive. The published one has 187 million."""


class CIFAR10(PublishedSet):
    """Photographs of 10 classes, 3x32x32: 45,000 for training, 5,000 for validation, the published 10,000 for the test.

    Training images are shifted by up to 4 pixels and mirrored, as in most published results on CIFAR-10.
    """

    image = PUBLISHED
    classes = 10
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    shift = 4
    counts = (50_000, 10_000)
    augmentations: ClassVar[tuple[Augmentation, ...]] = (Flip(),)
    files = (
        Archive(
            "cifar-10-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            170_498_071,
            "c58f30108f718f92721af3b95e74349a",
            folder=FOLDER,
            members=tuple(BATCHES),
        ),
    )
    out_of_distribution = ("svhn",)
    licence = "none stated; its authors ask to be cited"
    source = "Krizhevsky: Learning multiple layers of features from tiny images. Technical report, 2009"

    def read_parts(self, paths: Sequence[Path]) -> tuple[Images, Images]:
        batches = {name: _unpickle_batch(content, path, name) for name, path, content in _read_contents(paths[0])}
        missing = [name for name in BATCHES if name not in batches]
        if missing:
            raise damaged_file(paths[0], f"holds no {FOLDER}/{missing[0]}", missing[0])
        *training, test = (batches[name] for name in BATCHES)
        return Images(*(torch.cat(parts) for parts in zip(*training, strict=True))), test


class CIFAR10Patches(CIFAR10):
    """CIFAR-10 in patches of 3x24x24 (Sabour 2017, section 7): random patches in training, the centre in the test.

    Training patches are also mirrored. The authors' code also changes brightness and contrast and standardises each patch, which
    is left out.
    """

    image = ImageShape(3, 24, 24)
    shift = 0
    augmentations = (Crop(24, 24), Flip())

    def load(self, folder: Path) -> Splits:
        splits = super().load(folder)
        validation, test = (
            part._replace(images=crop_centre(part.images, *self.image[1:])) for part in (splits.validation, splits.test)
        )
        return replace(splits, validation=validation, test=test)

    def prepare_images(self, images: Tensor) -> Tensor:
        """Resizes whole images to 32x32 and cuts them to the central 24x24, as test images are."""
        return crop_centre(resize_images(images, *PUBLISHED[1:]), *self.image[1:])


def _read_contents(path: Path) -> Iterator[tuple[str, Path, bytes]]:
    """Yields (name, path on the disk, content) of the files of `BATCHES` in the archive or in the unpacked folder."""
    if path.is_dir():
        for name in BATCHES:
            yield name, path / name, (path / name).read_bytes()
        return
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as content:
            bounded = Bounded(content, LARGEST)
            # Reading from a stream writes nothing to the disk, whatever names the archive has.
            with tarfile.open(fileobj=bounded, mode="r|") as archive:  # type: ignore[call-overload]
                for member in archive:
                    folder, _, name = member.name.rpartition("/")
                    if folder == FOLDER and name in BATCHES and (file := archive.extractfile(member)):
                        yield name, path, file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise unreadable_file(path, error) from error


def _unpickle_batch(content: bytes, path: Path, name: str) -> Images:
    """Returns the images of the file ``name`` of `BATCHES`, after a check of its sum; ``path`` is named in the error."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != BATCHES[name]:
        raise damaged_file(
            path,
            f"expected {name} with the MD5 sum {BATCHES[name]}, as published, found {md5} in {len(content)} bytes",
            md5,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy 2.4.0 to 2.4.4 warn of such old pickles
        batch = pickle.loads(content, encoding="bytes")
    return Images(torch.from_numpy(batch[b"data"]).reshape(-1, *PUBLISHED), torch.tensor(batch[b"labels"]))
