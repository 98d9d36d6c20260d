"""The base class of a user's own images: their classes, splits and shape, found without decoding them, and their loading."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import PIL

from capsbench.data.base import Dataset
from capsbench.data.images import ANY_NUMBER, Images, ImageShape, Splits
from capsbench.data.lazy import torch
from capsbench.data.own.decoded import DeeperError, Levels, open_decoded
from capsbench.data.own.decoding import (
    Fit,
    Pixels,
    Size,
    UnreadableError,
    count_bytes,
    decode_file,
    fit_levels,
    fit_pixels,
    measure_file,
    parse_size,
    read_image_file,
    spell_crop,
)
from capsbench.data.own.labels import ANY, count_images, describe_counts, describe_exclusive, encode_labels
from capsbench.data.own.splits import (
    PARTS,
    TEST,
    TRAIN,
    VALIDATION,
    Shares,
    check_classes,
    compose_names,
    describe_balance,
    describe_repeated,
    list_some,
    order_classes,
    split_images,
)
from capsbench.data.prepare import resize_images
from capsbench.errors import Kind, UsageError

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "own"
"""The folder of images that were in memory or that a library names, inside the data folder."""

LABELS = "labels"
"""The fact that images show any number of classes, beside their shape and the names of their classes."""


def refuse_unwritable(folder: Path, error: OSError) -> UsageError:
    """Returns the refusal of a data folder in which images of a user's own cannot be kept."""
    problem, expected = f"the images cannot be written there: {error.strerror or error}", "name another folder"
    return UsageError(Kind.INACCESSIBLE, problem, flag="data_dir", file=folder, expected=expected)


class Picture(ABC):
    """One image of a user's own, not yet decoded.

    Attributes:
        name: the name that errors tell, such as ``bar/000.png``.
        labels: the classes that it shows, by their names: exactly one, unless the data set is of any number.
        part: ``train``, ``validation`` or ``test``; empty if the user gives no split.
    """

    name: str
    labels: Sequence[str]
    part: str

    @abstractmethod
    def read(self) -> bytes:
        """Returns all bytes that the pixels follow from; raises UnreadableError."""

    @abstractmethod
    def count_bytes(self) -> int:
        """Returns how many bytes `read` gives, without reading them; raises UnreadableError."""

    @abstractmethod
    def measure(self) -> ImageShape:
        """Returns the shape, from as few bytes as possible; raises UnreadableError."""

    @abstractmethod
    def decode(self) -> Pixels:
        """Returns the pixels; raises UnreadableError."""


@dataclass
class FilePicture(Picture):
    """An image file, on the disk or in memory."""

    file: Path | bytes
    name: str
    labels: Sequence[str]
    part: str = ""

    def read(self) -> bytes:
        return read_image_file(self.file)

    def count_bytes(self) -> int:
        return count_bytes(self.file)

    def measure(self) -> ImageShape:
        return measure_file(self.file)

    def decode(self) -> Pixels:
        return decode_file(self.file)


class OwnImages(Dataset):
    """Base class of data sets that are named by a path. It lists their images; this class splits, resizes and loads them.

    Args:
        path: the folder or file.
        resize: ``none``; ``HxW`` pixels; or ``N``, the shorter side, with the aspect ratio as it is.
        crop: ``none``, or the centre of ``N`` or ``HxW`` pixels, after resizing.
        validation_share, test_share: the shares of the training images that are held out where the user gives no such images.
        split_seed: the seed of these draws.

    Raises:
        UsageError: there are no such images, or they do not make a data set; the message says in one line what to change.
    """

    spellings: ClassVar[Mapping[str, Callable[[str], str]]] = {"crop": spell_crop}
    """Option -> a function that returns the one spelling of its value, which is part of a cell's identity."""

    licence = "your own"
    path: Path
    pictures: Sequence[Picture]

    names_on_file: Sequence[str] = ()
    """The names of classes in the order that the files give, set by `list_pictures`; empty if they give none."""

    any_number: bool = False
    """True if an image may show any number of classes, set by `list_pictures`."""

    def __init__(
        self,
        path: str,
        *,
        resize: str = "none",
        crop: str = "none",
        validation_share: float = 0.1,
        test_share: float = 0.2,
        split_seed: int = 0,
    ) -> None:
        if not path:  # which Path would take as the working folder
            expected = "a path behind the colon, such as folder:shapes"
            raise UsageError(Kind.INVALID, flag="dataset", expected=expected, value=path)
        self.path = Path(path)
        self.fit = Fit(parse_size("resize", resize), parse_size("crop", crop, square=True))
        self.shares = Shares(validation_share, test_share, split_seed)
        self.shares.check()
        self.pictures = self.list_pictures()
        for picture in self.pictures:
            picture.labels = compose_names(picture.labels)
        self.names_on_file = compose_names(self.names_on_file)
        self.class_names = self.order_classes()
        check_classes(self.class_names, self.path)
        self.classes = len(self.class_names)
        self.labels_an_image = ANY_NUMBER if self.any_number else 1
        self._labels = encode_labels([picture.labels for picture in self.pictures], self.class_names, self.any_number)
        parts = [picture.part for picture in self.pictures]
        self._split = split_images(self._labels, parts, self.class_names, self.shares, self.path)
        self._is_drawn = {part: part not in parts for part in PARTS[1:]}
        self.image_counts = {part: len(indices) for part, indices in self._split.items()}

    @property
    def facts(self) -> Mapping[str, str]:  # type: ignore[override]
        """The shape, the names of the classes by their labels, and whether an image shows any number of them."""
        return {
            "shape": "x".join(map(str, self.image)),
            **({LABELS: ANY} if self.any_number else {}),
            **{str(label): name for label, name in enumerate(self.class_names)},
        }

    @abstractmethod
    def list_pictures(self) -> Sequence[Picture]:
        """Returns the images in a fixed order, at least one; raises UsageError."""

    def order_classes(self) -> list[str]:
        """Returns the names of the classes that have images, in the order of their labels: those on file, then others."""
        present = {label for picture in self.pictures for label in picture.labels}
        on_file = [name for name in self.names_on_file if name in present]
        return [*on_file, *order_classes([*present.difference(on_file)])]

    @cached_property
    def image(self) -> ImageShape:  # type: ignore[override]
        """The shape of the images, from their headers; UsageError if they would have several after resizing and crop."""
        shapes = self.original_shapes
        if not shapes:
            self._refuse_unreadable([(picture.name, _find_fault(picture)) for picture in self.pictures])
        channels = max(shape.channels for shape in shapes)
        several = {shape.channels for shape in shapes} - {1, channels}
        if several:
            problem = f"images of {min(several)} and of {channels} channels"
            raise UsageError(Kind.DAMAGED, problem, flag="dataset", file=self.path, expected="expected one number")
        sizes = sorted({self.fit.fit_size(shape.height, shape.width) for shape in sorted(shapes)})
        if len(sizes) > 1:
            smallest, largest = (
                f"{height}x{width} ({self._find_name((height, width))})" for height, width in (sizes[0], sizes[-1])
            )
            problem = f"images of {len(sizes)} sizes, such as {smallest} and {largest}"
            side = min(min(size) for size in sizes)
            remedies = f"{{flag:resize}} HxW, such as {side}x{side}, or {{flag:resize}} {side} {{flag:crop}} {side}"
            expected = f"give all one size: {remedies}"
            raise UsageError(Kind.CONFLICT, problem, flag="resize", file=self.path, value=len(sizes), expected=expected)
        return ImageShape(channels, *sizes[0])

    @cached_property
    def original_shapes(self) -> Counter[ImageShape]:
        """The shapes of the readable images as they are on the disk, each with the number of images."""
        return Counter(shape for shape in self._shapes if shape is not None)

    @cached_property
    def _shapes(self) -> list[ImageShape | None]:
        return [_measure(picture) for picture in self.pictures]

    def find_quick_faults(self) -> dict[str, str]:
        shapes = zip(self.pictures, self._shapes, strict=True)
        return {picture.name: _find_fault(picture) for picture, shape in shapes if shape is None}

    def _find_name(self, size: tuple[int, int]) -> str:
        """Returns the name of an image that has a size after resizing and crop."""
        shapes = zip(self.pictures, self._shapes, strict=True)
        return next(pic.name for pic, shape in shapes if shape and self.fit.fit_size(*shape[1:]) == size)

    def count_classes(self) -> dict[str, dict[str, int]]:
        """Returns class -> part -> the number of its images."""
        by_part = {part: count_images(self._labels[indices], self.classes) for part, indices in self._split.items()}
        return {
            name: {part: int(by_part[part][label]) for part in PARTS} for label, name in enumerate(self.class_names)
        }

    def describe(self) -> str:
        names = f"{self.classes} classes ({list_some(self.class_names)})"
        if self.any_number:
            names += f", {describe_counts(self._labels)}"
        counts = ", ".join(f"{count:,} {part}" for part, count in self.image_counts.items())
        try:
            channels, height, width = self.image
            shape = f"{height}x{width} pixels, " + {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
        except UsageError as error:  # several sizes, which need a flag
            shape = error.problem
        drawn = [part for part, is_drawn in self._is_drawn.items() if is_drawn]
        split = f"; {' and '.join(drawn)} drawn with split seed {self.shares.seed}" if drawn else ""
        return f"{names}, {counts} images{split}; {shape}"

    @property
    def remarks(self) -> Sequence[str]:
        labels = {part: self._labels[indices] for part, indices in self._split.items()}
        faults = [f"{name} ({reason})" for name, reason in self.find_quick_faults().items()]
        unreadable = [f"cannot be read, {len(faults)} of the images: {list_some(faults)}"] if faults else []
        balance = describe_balance(labels, self.class_names)
        names = [picture.name for picture in self.pictures]
        repeated = describe_repeated(
            self._split, [_count(picture) for picture in self.pictures], self._digest_image, names
        )
        return self.describe(), *unreadable, *describe_exclusive(self._labels), *balance, *repeated

    def _digest_image(self, index: int) -> bytes | None:
        return _digest(self.pictures[index])

    def _digest_images(self) -> list[bytes | None]:
        # Read anew, since files may change between the plan and the loading.
        return [_digest(picture) for picture in self.pictures]

    def load(self, folder: Path) -> Splits:
        from capsbench.data.stored import StoredImages  # imports torch

        shape = len(self.pictures), *self.image
        levels = torch.from_numpy(open_decoded(folder, self._name_decoded(), shape, self._decode_all))
        parts = {
            part: Images(StoredImages(levels, torch.from_numpy(indices)), torch.from_numpy(self._labels[indices]))
            for part, indices in self._split.items()
        }
        return Splits(parts[TRAIN], parts[VALIDATION], parts[TEST])

    def prepare_images(self, images: Tensor) -> Tensor:
        """Resizes and crops images as those of the data set, and then to their size if the aspect ratio was another."""
        pixels = images.permute(0, 2, 3, 1).numpy()
        levels = np.round(pixels * 255)
        # Bytes are resized as bytes, so that an image of the data set becomes the same pixels again.
        is_bytes = len(pixels) > 0 and np.abs(levels - pixels * 255).max() < 1e-3
        exact: Pixels = levels.astype(np.uint8) if is_bytes else pixels.astype(np.float32)
        scaled = (self.fit.scale_size(*image.shape[:2]) for image in exact)
        fits = [self.fit if self.fit.holds(size) else Fit(Size(*self.image[1:])) for size in scaled]
        prepared = [fit_pixels(image, self.image.channels, fit) for image, fit in zip(exact, fits, strict=True)]
        return resize_images(torch.from_numpy(np.stack(prepared)), *self.image[1:])

    def _name_decoded(self) -> str:
        """Returns a digest of the image files and of all that decides which pixels they become."""
        # A version of Pillow has its own decoders.
        settings = [PIL.__version__, self.image, [str(size) for size in self.fit]]
        digest = hashlib.sha256(json.dumps(settings).encode())
        for of_image in self._digest_images():
            digest.update(of_image or b"")
        return digest.hexdigest()[:32]

    def _decode_all(self, dtype: np.dtype[Any]) -> Iterator[Levels]:
        """Yields all images as bytes, or as floats from 0 to 1; raises UsageError for those that cannot be read."""
        faults: list[tuple[str, str]] = []
        for picture in self.pictures:
            try:
                pixels = picture.decode()
            except UnreadableError as error:
                faults.append((picture.name, str(error)))
                continue
            if dtype == np.uint8 and pixels.dtype != np.uint8:
                raise DeeperError(picture.name)
            fit = fit_levels if dtype == np.uint8 else fit_pixels
            fitted = fit(pixels, self.image.channels, self.fit)
            if fitted.shape == self.image:
                yield fitted
            else:
                actual = "{} channels, {}x{} pixels".format(*fitted.shape)
                faults.append((picture.name, f"{actual}, unlike its header"))
        if faults:
            self._refuse_unreadable(faults)

    def _refuse_unreadable(self, faults: Sequence[tuple[str, str]]) -> None:
        names = list_some([f"{name} ({reason})" for name, reason in faults])
        problem = f"{len(faults)} of {len(self.pictures)} images cannot be read: {names}"
        expected = "replace them by whole ones, or remove them"
        raise UsageError(
            Kind.DAMAGED, problem, flag="dataset", file=self.path, value=[name for name, _ in faults], expected=expected
        )


def _measure(picture: Picture) -> ImageShape | None:
    """Returns the shape of an image; None if it cannot be read, which `OwnImages.load` tells."""
    try:
        return picture.measure()
    except UnreadableError:
        return None


def _count(picture: Picture) -> int | None:
    """Returns the bytes of an image; None if it cannot be read, which `OwnImages.load` tells."""
    try:
        return picture.count_bytes()
    except UnreadableError:
        return None


def _digest(picture: Picture) -> bytes | None:
    """Returns the digest of the bytes of an image; None if it cannot be read, which `OwnImages.load` tells."""
    try:
        return hashlib.sha256(picture.read()).digest()
    except UnreadableError:
        return None


def _find_fault(picture: Picture) -> str:
    try:
        picture.decode()
    except UnreadableError as error:
        return str(error)
    return "its header"
