"""Writes images that are objects of Python to a file, once, so that every process can read them as ``npz:PATH``."""

from __future__ import annotations

import difflib
import hashlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from capsbench.data.own.base import FOLDER, refuse_unwritable
from capsbench.data.own.decoding import Pixels, to_pixels
from capsbench.data.own.hugging_face import fetch_from_hub, is_hugging_face, save_dataset
from capsbench.data.own.splits import NAMES_OF_PARTS, find_part, list_some
from capsbench.errors import FOREIGN, Kind, StorageFailed, UsageError, message_of
from capsbench.records.disk import replace_file
from capsbench.sources import locations

READ_TWICE = 32
"""The images that are read twice: random transforms would make others each time."""

EXPECTED = (
    "a name, a path, a pair (images, labels) of arrays or lists, a data set of torchvision, or {'train': ..., "
    "'test': ...} of these"
)


def is_object(value: Any) -> bool:
    """Returns true for images in memory, as opposed to a name or a list of names."""
    return value is not None and not isinstance(value, str) and not _is_list_of_names(value)


def adopt_datasets(value: Any, folder: Path, note: Callable[[Path], None] = lambda path: None) -> Any:
    """Returns the data sets of a request as names, an axis of them as a list.

    Images in memory are written into the data folder, and sets that a library names are fetched.

    Args:
        folder: the data folder.
        note: called with each file or folder that is written for images in memory.
    """
    if isinstance(value, list) and not (_is_pair(value) or _is_list_of_pairs(value)):
        return [adopt_datasets(item, folder, note) for item in value]
    if is_object(value):
        adopt = save_dataset if is_hugging_face(value) else write_object
        return adopt(value, folder, note)
    for typed in value.split(",") if isinstance(value, str) else value or ():
        fetch_named(typed.strip(), folder)
    return value


def fetch_named(typed: str, folder: Path) -> None:
    """Fetches a data set that a library names, ``torchvision:CIFAR100`` or ``hf:owner/name``, once, and notes where it lies."""
    scheme, name = locations.split_scheme(typed)
    if scheme == "torchvision":
        path = _fetch_torchvision(name, folder)
    elif scheme == "hf" and locations.find_location(typed)[1] is None:
        path = fetch_from_hub(name, folder)
    else:
        return
    locations.place(f"{scheme}:{path.name}", locations.Location(str(path), typed))


def _fetch_torchvision(name: str, folder: Path) -> Path:
    """Writes a data set of torchvision into a file, which downloads what its folder lacks, as built-in sets do."""
    from torchvision import datasets

    component = getattr(datasets, name, None) if name in datasets.__all__ else None
    if not (isinstance(component, type) and issubclass(component, datasets.VisionDataset)):
        near = difflib.get_close_matches(name, datasets.__all__, n=3) or ["CIFAR100", "Flowers102", "GTSRB"]
        expected = f"a class of torchvision.datasets, such as {', '.join(near)}"
        raise UsageError(Kind.UNKNOWN, flag="dataset", value=f"torchvision:{name}", expected=expected)
    path = folder / FOLDER / "torchvision" / name
    if not path.exists():
        try:
            parts = _make_parts(component, folder / "torchvision")
        except FOREIGN as error:
            problem = f"torchvision:{name} cannot be had: {message_of(error, first_line=True)}"
            expected = "try again later, or put its files by hand into the folder torchvision of the data folder"
            raise UsageError(Kind.MISSING, problem, flag="dataset", file=folder, expected=expected) from error
        write_arrays(collect_arrays(parts), path)
    return path


def _make_parts(component: Any, root: Path) -> dict[str, Any]:
    """Returns part -> a data set of torchvision; some take the part as ``train``, some as ``split``, some have but one."""
    parameters = inspect.signature(component).parameters
    given = {"root": str(root), "download": True}
    arguments = {name: value for name, value in given.items() if name in parameters}
    if "train" in parameters:
        return {"train": component(train=True, **arguments), "test": component(train=False, **arguments)}
    if "split" not in parameters:
        return {"": component(**arguments)}
    parts: dict[str, Any] = {}
    for part, names in NAMES_OF_PARTS.items():
        for name in names:
            with suppress(ValueError):  # another name
                parts.setdefault(part, component(split=name, **arguments))
    return parts


def write_object(value: Any, folder: Path, note: Callable[[Path], None] = lambda path: None) -> str:
    """Writes images and labels into the data folder, and returns their name, ``npz:PATH``. What is there already stays.

    Args:
        value: a pair (images, labels) of arrays, tensors or lists; a data set that gives pairs (image, label) by their index, as
            those of torchvision and lists of pairs do; or a mapping or a pair of such, for the parts. An image may be one of
            Pillow.
        note: as in `adopt_datasets`.

    Raises:
        UsageError: it is none of these, or its images are others each time.
    """
    arrays = collect_arrays(_name_parts(value))
    path = folder / FOLDER / f"{_find_title(value)}-{_digest_arrays(arrays)}.npz"
    if not path.exists():
        note(path)
        write_arrays(arrays, path)
    return f"npz:{path}"


def write_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Writes arrays to a file as `numpy.savez` does, completely or not at all; raises UsageError if it cannot be written."""
    try:
        with replace_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except StorageFailed as error:
        if isinstance(error.__cause__, OSError):
            raise refuse_unwritable(path.parent, error.__cause__) from error
        raise


def collect_arrays(parts: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Returns the arrays of images, labels and names of classes, under the names that `capsbench.data.own.npz` knows.

    Args:
        parts: part, empty for all of them -> its images, as in `write_object`.

    Raises:
        UsageError: as `write_object`.
    """
    arrays: dict[str, NDArray[Any]] = {}
    labels: dict[str, tuple[NDArray[Any], list[str]]] = {}
    for part, images in parts.items():
        prefix = f"{part}_" if part else ""
        pixels, numbers, names_of_part = _read_images(images, part)
        labels[prefix] = numbers, names_of_part
        arrays |= {f"{prefix}{name}": content for name, content in _pack_images(pixels).items()}
    names = list(dict.fromkeys(name for _, names_of_part in labels.values() for name in names_of_part))
    for prefix, (numbers, names_of_part) in labels.items():
        arrays[f"{prefix}labels"] = _renumber_labels(numbers, names_of_part, names)
    if names:
        arrays["class_names"] = np.array(names, dtype=str)
    return arrays


def _renumber_labels(labels: NDArray[Any], names_of_part: Sequence[str], names: Sequence[str]) -> NDArray[Any]:
    """Returns the labels of a part, which numbers its own classes, by the numbers of the classes of all parts."""
    if not names_of_part or (labels.ndim == 1 and [*names_of_part] == [*names[: len(names_of_part)]]):
        return labels
    numbers = np.array([names.index(name) for name in names_of_part])
    if labels.ndim == 1:
        return numbers[labels]
    mask = np.zeros((len(labels), len(names)), dtype=labels.dtype)
    mask[:, numbers] = labels
    return mask


def _is_list_of_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, str) for item in value)


def _name_parts(value: Any) -> dict[str, Any]:
    """Returns part -> its images; the empty part is all of them, of which splits are drawn."""
    if isinstance(value, Mapping):
        parts = {str(name): find_part(str(name)) for name in value}
        if unknown := [name for name, part in parts.items() if part is None]:
            problem = f"parts {list_some(unknown)}"
            raise UsageError(Kind.INVALID, problem, flag="dataset", expected="expected train, validation and test")
        return {part: value[name] for name, part in parts.items() if part}
    if isinstance(value, tuple | list) and len(value) == 2 and not (_is_pair(value) or _is_list_of_pairs(value)):
        return {"train": value[0], "test": value[1]}
    return {"": value}


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_image(value: Any) -> bool:
    return isinstance(value, Image.Image) or (_is_array(value) and len(value.shape) in (2, 3))


def _is_label(value: Any) -> bool:
    return isinstance(value, str | int) or (_is_array(value) and len(value.shape) == 0)


def _is_pair(value: Any) -> bool:
    """Returns true for images and labels: two arrays, or a list of images and one of labels."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    images, labels = value
    if _is_array(images):
        return not _is_label(labels)
    return isinstance(images, tuple | list) and len(images) > 0 and _is_image(images[0]) and _is_labels(labels)


def _is_labels(value: Any) -> bool:
    return _is_array(value) or (isinstance(value, tuple | list) and len(value) > 0 and all(map(_is_label, value)))


def _is_list_of_pairs(value: Any) -> bool:
    """Returns true for a list of pairs (image, label)."""
    return isinstance(value, list) and bool(value) and all(map(_is_image_with_label, value))


def _is_image_with_label(value: Any) -> bool:
    is_couple = isinstance(value, tuple | list) and len(value) == 2
    return is_couple and _is_image(value[0]) and (_is_label(value[1]) or _is_mask(value[1]))


def _is_mask(value: Any) -> bool:
    """Returns true for a target of any number of classes, a vector of 0 and 1."""
    return _is_array(value) and len(value.shape) == 1 and len(value) > 1


def _read_images(images: Any, part: str) -> tuple[list[Pixels] | Pixels, NDArray[Any], list[str]]:
    """Returns the pixels, the labels and the names of the classes, if they have names."""
    if _is_pair(images):
        pixels, labels = images
        return _to_array(pixels) if _is_array(pixels) else [*map(_to_array, pixels)], _to_array(labels), []
    if not (hasattr(images, "__getitem__") and hasattr(images, "__len__")) or isinstance(images, str | bytes):
        raise UsageError(Kind.INVALID, flag="dataset", expected=EXPECTED, value=type(images).__name__)
    try:
        pairs = [_read_pair(images[index]) for index in range(len(images))]
        labels = _stack_labels([label for _, label in pairs])
        again = [_read_pair(images[index]) for index in range(min(READ_TWICE, len(images)))]
    except UsageError:
        raise
    except FOREIGN as error:
        problem = f"{type(images).__name__} cannot be read: {type(error).__name__}: {message_of(error)}"
        raise UsageError(Kind.DAMAGED, problem, flag="dataset", expected=EXPECTED) from error
    if any(not np.array_equal(one[0], other[0]) for one, other in zip(pairs, again, strict=False)):
        problem = f"{type(images).__name__} gives other images each time"
        expected = "leave random transforms out; {flag:shift} and {flag:warp} have some"
        raise UsageError(Kind.CONFLICT, problem, flag="dataset", value=part, expected=expected)
    return [pixels for pixels, _ in pairs], labels, _find_class_names(images, labels)


def _read_pair(pair: Any) -> tuple[Pixels, Any]:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise UsageError(Kind.INVALID, flag="dataset", expected="pairs (image, label)", value=type(pair).__name__)
    image, label = pair
    if _is_mask(label):
        return _to_array(image), _to_array(label)
    return _to_array(image), label.item() if _is_array(label) else label


def _stack_labels(labels: list[Any]) -> NDArray[Any]:
    """Returns labels as an array; raises UsageError for lists of classes, which have several lengths."""
    if len({np.shape(label) for label in labels}) > 1:
        expected = "a label for each image, or for each a vector of 0 and 1 with a place for each class"
        raise UsageError(Kind.INVALID, "targets of several shapes", flag="dataset", expected=expected)
    return np.array(labels)


def _to_array(value: Any) -> NDArray[Any]:
    """Returns an array; of an image of Pillow its pixels, of a tensor ``[C, H, W]`` the same order."""
    if isinstance(value, Image.Image):
        return to_pixels(value)
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _find_class_names(images: Any, labels: NDArray[Any]) -> list[str]:
    """Returns the names that a data set of torchvision has for its classes, if its labels are their numbers."""
    while not hasattr(images, "classes") and hasattr(images, "dataset"):  # a Subset
        images = images.dataset
    names = getattr(images, "classes", None)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return []
    if labels.ndim > 1:
        is_numbered = labels.shape[1] == len(names)
    else:
        is_numbered = labels.dtype.kind in "iu" and len(labels) > 0 and labels.min() >= 0 and labels.max() < len(names)
    return list(names) if is_numbered and len(set(names)) == len(names) else []


def _pack_images(pixels: list[Pixels] | Pixels) -> dict[str, NDArray[Any]]:
    """Returns the images as one array; as the bytes of PNG files if they have several sizes, with the end of each."""
    if isinstance(pixels, np.ndarray):
        return {"images": pixels}
    if len({(image.shape, image.dtype) for image in pixels}) == 1:
        return {"images": np.stack(pixels)}
    files = [_encode_image(image) for image in pixels]
    return {
        "encoded": np.frombuffer(b"".join(files), dtype=np.uint8),
        "ends": np.cumsum([len(file) for file in files], dtype=np.int64),
    }


def _encode_image(pixels: Pixels) -> bytes:
    if pixels.dtype not in (np.uint8, np.uint16) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        problem = f"images of several sizes, of {pixels.dtype} {list(pixels.shape)}"
        raise UsageError(Kind.INVALID, problem, flag="dataset", expected="give all one size, or bytes [H, W, 3]")
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def _digest_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(arrays.items()):
        if content.dtype.kind == "O":
            raise UsageError(
                Kind.INVALID, f"{name} of Python objects", flag="dataset", expected="expected numbers or names"
            )
        digest.update(f"{name} {content.dtype.str} {list(content.shape)} ".encode())
        digest.update(np.ascontiguousarray(content).view(np.uint8).data if content.size else b"")
    return digest.hexdigest()[:8]


def _find_title(value: Any) -> str:
    """Returns a name for the file: that of the class of the data set, or ``arrays``."""
    first: Any = next(iter(value.values()), None) if isinstance(value, Mapping) else value
    if isinstance(first, tuple | list):
        first = first[0] if first else None
    while hasattr(first, "dataset") and hasattr(first, "indices"):
        first = first.dataset
    is_array = _is_array(first) or isinstance(first, tuple | list) or first is None
    return "arrays" if is_array else re.sub(r"\W+", "-", type(first).__name__)
