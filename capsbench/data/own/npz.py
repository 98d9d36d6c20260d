"""Images as arrays in a file of NumPy: ``npz:PATH``."""

from __future__ import annotations

import itertools
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capsbench.data.images import ImageShape
from capsbench.data.own.base import FilePicture, OwnImages, Picture
from capsbench.data.own.decoding import Pixels
from capsbench.data.own.splits import NAMES_OF_PARTS, PARTS, list_some
from capsbench.errors import Kind, UsageError

IMAGES = ("images", "image", "x", "data", "encoded")
LABELS = ("labels", "label", "y", "targets", "target")
NAMES = ("class_names", "classes", "names")
"""The names of arrays, beside a part or alone, in any case: ``train_images``, ``x_train``, ``images``."""

EXPECTED = "expected images and labels, or train_images, train_labels, test_images and test_labels"

ENCODED = "encoded"
"""The end of the name of an array of bytes, image files one after the other. The array ``ends`` has the end of each."""

MOST_CHANNELS = 4
"""The most channels by which the axis of the channels is told from those of the pixels."""


@dataclass
class ArrayPicture(Picture):
    """An image in an array ``[H, W, C]``, in a form that `to_standard` gives."""

    pixels: Pixels
    name: str
    labels: Sequence[str]
    part: str = ""

    def read(self) -> bytes:
        return self._describe() + self.pixels.tobytes()

    def count_bytes(self) -> int:
        return len(self._describe()) + self.pixels.nbytes

    def _describe(self) -> bytes:
        return f"{self.pixels.dtype} {self.pixels.shape}".encode()

    def measure(self) -> ImageShape:
        height, width, channels = self.pixels.shape
        return ImageShape(channels, height, width)

    def decode(self) -> Pixels:
        return self.pixels


class NpzSet(OwnImages):
    """Arrays of images and labels, with one pair for all images, or one pair for each part."""

    version = 1

    def list_pictures(self) -> Sequence[Picture]:
        arrays = read_npz(self.path)
        pairs = find_pairs(arrays, self.path)
        self.names_on_file = find_class_names(arrays, self.path)
        matrices = [labels for _, labels in pairs.values() if _is_matrix(arrays[labels])]
        self.any_number = bool(matrices)
        if 0 < len(matrices) < len(pairs):
            problem = f"{matrices[0]} is a matrix, the labels of another part are not"
            raise refuse_arrays(self.path, problem, "expected labels of one kind")
        levels = find_levels(arrays[images] for images, _ in pairs.values())
        first = find_first_number([arrays[labels] for _, labels in pairs.values()], len(self.names_on_file))
        pictures: list[Picture] = []
        for part, (images_name, labels_name) in pairs.items():
            images: Sequence[bytes] | Pixels
            if images_name.endswith(ENCODED):
                images = _split_files(arrays, images_name, self.path)
            else:
                images = to_standard(arrays[images_name], images_name, self.path, levels)
            labels = self._read_labels(arrays[labels_name], labels_name, first)
            if len(images) != len(labels):
                problem = f"{len(images)} {images_name} and {len(labels)} {labels_name}"
                raise refuse_arrays(self.path, problem, "expected a label for each image")
            for row, (image, label) in enumerate(zip(images, labels, strict=True)):
                name = f"{images_name}[{row}]"
                if isinstance(image, bytes):
                    pictures.append(FilePicture(image, name, label, part))
                else:
                    pictures.append(ArrayPicture(image, name, label, part))
        if not pictures:
            raise refuse_arrays(self.path, "no images", EXPECTED)
        return pictures

    def _read_labels(self, labels: NDArray[Any], name: str, first: int) -> list[list[str]]:
        """Returns the classes of each image: of a matrix ``[N, classes]`` any number, else one."""
        if not self.any_number:
            return [[label] for label in to_class_names(labels, name, self.names_on_file, self.path, first)]
        self.names_on_file = self.names_on_file or [str(number) for number in range(labels.shape[1])]
        return to_names_of_several(labels, name, self.names_on_file, self.path)


class TorchvisionSet(NpzSet):
    """A data set of torchvision by the name of its class, such as CIFAR100, fetched once into the data folder."""

    licence = ""


def refuse_arrays(file: Path, problem: str, expected: str, value: object = None) -> UsageError:
    """Returns the error of arrays that are no images and labels."""
    return UsageError(Kind.DAMAGED, problem, flag="dataset", file=file, value=value, expected=expected)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Reads all arrays of a file; raises UsageError. Arrays of Python objects are refused: they would run code."""
    if not path.is_file():
        problem = "a folder, no file" if path.is_dir() else "no such file"
        raise UsageError(Kind.MISSING, problem, flag="dataset", file=path, expected=EXPECTED)
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise refuse_arrays(path, "one array alone", "expected a file of np.savez, with images and labels")
            return {name: content[name] for name in content.files}
    except UsageError:
        raise
    except ValueError as error:
        if "pickle" in str(error).lower() or "object" in str(error).lower():
            problem = "no arrays of numbers or strings, but Python objects or another kind of file"
            expected = "save names of classes as np.array(names, dtype=str)"
            raise refuse_arrays(path, problem, expected) from error
        raise refuse_arrays(path, f"cannot be read: {error}", "save it again by np.savez") from error
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise refuse_arrays(path, f"cannot be read: {error}", "save it again by np.savez") from error


def find_pairs(arrays: Mapping[str, Any], file: Path) -> dict[str, tuple[str, str]]:
    """Returns part -> the names of its images and labels; the empty part is all of them."""
    roles: dict[tuple[str, str], str] = {}
    for name in arrays:
        if (role := _find_role(name)) is not None:
            if role in roles:
                raise refuse_arrays(file, f"two arrays of one meaning: {roles[role]}, {name}", EXPECTED)
            roles[role] = name
    pairs = {}
    for part in ("", *PARTS):
        images, labels = roles.get((part, "images")), roles.get((part, "labels"))
        if images and labels:
            pairs[part] = (images, labels)
        elif images or labels:
            lacking = "labels" if images else "images"
            raise refuse_arrays(file, f"{images or labels} without {lacking}", EXPECTED)
    if not pairs or ("" in pairs and len(pairs) > 1) or ("" not in pairs and PARTS[0] not in pairs):
        raise refuse_arrays(file, f"arrays {list_some([*arrays]) or 'none'}", EXPECTED)
    return pairs


def _split_files(arrays: Mapping[str, NDArray[Any]], name: str, file: Path) -> list[bytes]:
    """Returns the image files in an array of bytes."""
    ends = arrays.get(f"{name.removesuffix(ENCODED)}ends")
    if ends is None or ends.ndim != 1 or ends.dtype.kind not in "iu" or arrays[name].dtype != np.uint8:
        raise refuse_arrays(file, f"{name} without the ends of the files", EXPECTED)
    starts = [0, *ends.tolist()]
    content = arrays[name].tobytes()
    return [content[start:end] for start, end in itertools.pairwise(starts)]


def _find_role(name: str) -> tuple[str, str] | None:
    """Returns the part and ``images`` or ``labels`` for a name such as ``train_images`` or ``x_test``."""
    words = [word for word in re.split(r"[_\-. ]+", name.lower()) if word]
    parts = [part for part, names in NAMES_OF_PARTS.items() for word in words if word in names]
    rest = [word for word in words if not any(word in names for names in NAMES_OF_PARTS.values())]
    if len(rest) != 1 or len(parts) > 1:
        return None
    part = parts[0] if parts else ""
    return (part, "images") if rest[0] in IMAGES else (part, "labels") if rest[0] in LABELS else None


def find_class_names(arrays: Mapping[str, NDArray[Any]], file: Path) -> list[str]:
    """Returns the names of the classes, if the file has them."""
    named = [name for name in arrays if name.lower() in NAMES]
    if not named:
        return []
    names = arrays[named[0]]
    if names.ndim != 1 or names.dtype.kind not in "US" or len(set(names.tolist())) < len(names):
        raise refuse_arrays(file, f"{named[0]}: {names.dtype} {list(names.shape)}", "expected different strings [K]")
    return [_to_text(name) for name in names.tolist()]


def _is_matrix(labels: NDArray[Any]) -> bool:
    """Returns true for labels of any number of classes an image; one column is one label each."""
    return labels.ndim == 2 and labels.shape[1] != 1


def _to_text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def find_first_number(labels: Sequence[NDArray[Any]], count: int) -> int:
    """Returns the number of the first class, 1 or 0.

    The labels of all parts tell it together: those of a part need not hold the last class.

    Args:
        labels: of each part.
        count: the number of classes with names.
    """
    numbers = [array for array in labels if array.size and array.dtype.kind in "iuf"]
    low, high = min(map(np.min, numbers), default=0), max(map(np.max, numbers), default=0)
    return 1 if low >= 1 and high == count else 0


def to_class_names(labels: NDArray[Any], name: str, names: Sequence[str], file: Path, first: int) -> list[str]:
    """Returns the class of each image by its name, for labels ``[N]`` or ``[N, 1]`` that are names or whole numbers.

    Args:
        name: the name of the array.
        names: of the classes, by their numbers; without them a class has the name of its number.
        first: the number of the first of these names, as of `find_first_number`.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        expected = "expected one label for each image, [N], or a matrix of 0 and 1, [N, classes]"
        raise refuse_arrays(file, f"{name} {list(labels.shape)}", expected)
    if labels.dtype.kind in "US":
        texts = [_to_text(label) for label in labels.tolist()]
        if names and (unknown := sorted(set(texts) - set(names))):
            raise refuse_arrays(file, f"{name} {list_some(unknown)}", f"expected one of {list_some(list(names))}")
        return texts
    if labels.dtype.kind == "b":
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.round(labels)).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iu":
        raise refuse_arrays(file, f"{name} of {labels.dtype}", "expected whole numbers or names")
    if not names or not len(labels):
        return [str(label) for label in labels.tolist()]
    if labels.min() < first or labels.max() >= first + len(names):
        problem = f"{name} from {labels.min()} to {labels.max()}"
        raise refuse_arrays(file, problem, f"expected numbers of the {len(names)} class names, from 0 or from 1")
    return [names[label - first] for label in labels.tolist()]


def to_names_of_several(labels: NDArray[Any], name: str, names: Sequence[str], file: Path) -> list[list[str]]:
    """Returns the classes of each image by their names, for a matrix ``[N, classes]`` of 0 and 1.

    Args:
        name: the name of the array.
        names: of the classes, in the order of the columns.
    """
    if labels.shape[1] != len(names):
        problem = f"{name} {list(labels.shape)} and {len(names)} names of classes"
        raise refuse_arrays(file, problem, "expected a column for each class")
    if labels.dtype.kind not in "biuf" or not np.isin(labels, (0, 1)).all():
        expected = "expected 0 and 1 in a matrix of labels, 1 for each class that the image shows"
        raise refuse_arrays(file, f"{name} of {labels.dtype} with other numbers", expected)
    return [[names[number] for number in np.flatnonzero(row).tolist()] for row in labels]


def find_levels(images: Iterable[NDArray[Any]]) -> type[np.unsignedinteger[Any]]:
    """Returns the type of images of whole numbers that are neither bytes nor of 16 bits: uint16 if a number needs it, else uint8.

    All parts have one, since dark images of 16 bits would else become bright.

    Args:
        images: of each part.
    """
    whole = (array for array in images if array.dtype.kind in "iu" and array.size)
    return (
        np.uint16
        if any(array.dtype.itemsize > 1 and (_is_16_bit(array) or array.max() > 255) for array in whole)
        else np.uint8
    )


def _is_16_bit(images: NDArray[Any]) -> bool:
    """Returns true for uint16, of either order of its bytes."""
    return images.dtype.kind == "u" and images.dtype.itemsize == 2


def to_standard(images: NDArray[Any], name: str, file: Path, levels: type[np.unsignedinteger[Any]]) -> Pixels:
    """Returns images ``[N, H, W, C]`` of uint8, uint16 or float32 from 0 to 1, for images with the channels first, last or none.

    Args:
        name: the name of the array.
        levels: the type that `find_levels` returns.
    """
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4:
        axis = _find_channels(images.shape[1:])
        if axis is None:
            problem = f"{name} {list(images.shape)}"
            raise refuse_arrays(
                file, problem, "expected [N, H, W], [N, H, W, C] or [N, C, H, W] with 1 to 4 channels C"
            )
        images = np.moveaxis(images, 1 + axis, 3)
    else:
        raise refuse_arrays(file, f"{name} {list(images.shape)}", "expected [N, H, W], [N, H, W, C] or [N, C, H, W]")
    if images.dtype == np.uint8 or not len(images):
        return images
    if _is_16_bit(images):
        return images.astype(np.uint16, copy=False)
    if images.dtype.kind == "b":
        return images.astype(np.uint8) * np.uint8(255)
    if images.dtype.kind not in "iuf":
        raise refuse_arrays(file, f"{name} of {images.dtype}", "expected uint8, or floats from 0 to 1")
    low, high = images.min(), images.max()
    if images.dtype.kind in "iu":
        if low < 0 or high > 65535:
            raise refuse_arrays(
                file, f"{name} from {low} to {high}", "expected whole numbers from 0 to 255", value=high
            )
        return images.astype(levels)
    if not (low >= 0 and high <= 1):
        expected = "expected floats from 0 to 1; save bytes as uint8"
        raise refuse_arrays(file, f"{name} from {low:g} to {high:g}", expected, value=float(high))
    return images.astype(np.float32)


def _find_channels(shape: Sequence[int]) -> int | None:
    """Returns the axis of the channels in the shape of an image, 0 or 2; None if both or neither may be."""
    first, last = shape[0] <= MOST_CHANNELS, shape[2] <= MOST_CHANNELS
    return None if first == last else 0 if first else 2
