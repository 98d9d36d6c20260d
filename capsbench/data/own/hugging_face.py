"""Data sets of Hugging Face: ``hf:PATH``, a folder that `datasets.Dataset.save_to_disk` wrote, or ``hf:NAME`` of the hub."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from capsbench.data.images import ImageShape
from capsbench.data.own.base import FOLDER, OwnImages, Picture, refuse_unwritable
from capsbench.data.own.decoded import FULL
from capsbench.data.own.decoding import (
    Pixels,
    UnreadableError,
    count_bytes,
    decode_file,
    measure_file,
    read_image_file,
)
from capsbench.data.own.splits import find_part, list_some
from capsbench.errors import FOREIGN, Kind, UsageError, message_of
from capsbench.records.disk import make_folder, put_folder_in_place
from capsbench.sources.foreign import import_package

AUTO = "auto"

LABELS = ("label", "labels", "fine_label", "class", "target", "category")
"""The names of the column of labels, in this order, if none is a column of classes."""


@dataclass
class RowPicture(Picture):
    """An image file in a row of a table, which is read from the disk when it is needed."""

    rows: Any
    row: int
    column: str
    name: str
    labels: Sequence[str]
    part: str = ""

    def read(self) -> bytes:
        return read_image_file(self._find_file())

    def count_bytes(self) -> int:
        return count_bytes(self._find_file())

    def measure(self) -> ImageShape:
        return measure_file(self._find_file())

    def decode(self) -> Pixels:
        return decode_file(self._find_file())

    def _find_file(self) -> Path | bytes:
        image = self.rows[self.row][self.column]
        if image is None or (image.get("bytes") is None and not image.get("path")):
            raise UnreadableError("no image in this row")
        return image["bytes"] if image.get("bytes") is not None else Path(image["path"])


class HuggingFaceSet(OwnImages):
    """A saved `datasets.Dataset` or `DatasetDict` with a column of images and one of labels.

    A column of sequences of labels has any number of classes for each image.

    Args:
        image_column, label_column: their names; ``auto`` looks for the only column of images, and one of classes or a usual name.
    """

    version = 1

    def __init__(
        self,
        path: str,
        *,
        resize: str = "none",
        crop: str = "none",
        validation_share: float = 0.1,
        test_share: float = 0.2,
        split_seed: int = 0,
        image_column: str = AUTO,
        label_column: str = AUTO,
    ) -> None:
        self._columns = image_column, label_column
        super().__init__(
            path,
            resize=resize,
            crop=crop,
            validation_share=validation_share,
            test_share=test_share,
            split_seed=split_seed,
        )

    def list_pictures(self) -> Sequence[RowPicture]:
        datasets = import_datasets()
        if not self.path.is_dir():
            expected = "a folder of save_to_disk, or a name of the hub that is typed with {flag:dataset}"
            raise UsageError(Kind.MISSING, "no such folder", flag="dataset", file=self.path, expected=expected)
        try:
            # A data set is saved with its format, in which labels may be tensors.
            loaded = datasets.load_from_disk(str(self.path)).with_format(None)
        except FOREIGN as error:
            problem = f"cannot be read: {message_of(error, first_line=True)}"
            expected = "expected a folder that save_to_disk wrote"
            raise UsageError(Kind.DAMAGED, problem, flag="dataset", file=self.path, expected=expected) from error
        parts: Mapping[str, Any] = loaded if isinstance(loaded, Mapping) else {"": loaded}
        self.names_on_file = ()
        self.any_number = any(self._has_sequences(rows.features) for rows in parts.values())
        return [picture for name, rows in parts.items() for picture in self._list_rows(datasets, name, rows)]

    def _list_rows(self, datasets: Any, name: str, rows: Any) -> list[RowPicture]:
        """Returns the images of one part."""
        part = find_part(name) if name else ""
        if part is None:
            raise self._refuse(f"part {name}", "expected train, validation and test")
        images, labels = self._find_columns(rows.features)
        names = list(getattr(_find_inner(rows.features[labels]), "names", None) or [])
        self.names_on_file = self.names_on_file or names
        values = self._read_labels(list(rows[labels]), names, labels, name or "the table")
        rows = rows.cast_column(images, datasets.Image(decode=False))
        return [
            RowPicture(
                rows,
                row,
                images,
                f"{name}[{row}]",
                [names[label] if names and isinstance(label, int) else str(label) for label in of_row],
                part,
            )
            for row, of_row in enumerate(values)
        ]

    def _read_labels(self, values: list[Any], names: Sequence[str], column: str, part: str) -> list[list[int | str]]:
        """Returns the labels of each row; raises UsageError for rows without labels, and for other values."""
        if self.any_number and any(not isinstance(value, list) for value in values if value is not None):
            raise self._refuse(f"column {column} of {part} without sequences", "expected the same kind in all parts")
        rows: list[Any] = values if self.any_number else [[value] for value in values]
        unlabelled = [row for row in rows if row is None or None in row or (names and -1 in row)]
        if unlabelled:
            raise self._refuse(f"{len(unlabelled)} rows of {part} without a label", "remove them")
        labels = [label for row in rows for label in row]
        # Booleans and numbers that repeat are a matrix of 0 and 1, whose entries are no classes.
        is_mask = self.any_number and any(isinstance(label, bool) for label in labels)
        if is_mask or any(len({*row}) < len(row) for row in rows):
            expected = "expected the different classes of each image; a matrix of 0 and 1 is read from a file of arrays"
            raise self._refuse(f"column {column} with values that repeat in a row", expected)
        if labels and not isinstance(labels[0], int | str):
            raise self._refuse(f"column {column} of {type(labels[0]).__name__}", "expected whole numbers or names")
        return rows

    def _has_sequences(self, features: Mapping[str, Any]) -> bool:
        """Returns true if the column of labels has sequences of them."""
        feature = features[self._find_columns(features)[1]]
        return _find_inner(feature) is not feature

    def _find_columns(self, features: Mapping[str, Any]) -> tuple[str, str]:
        """Returns the names of the columns of images and labels."""
        kinds = {name: type(feature).__name__ for name, feature in features.items()}
        image, label = self._columns
        for flag, column in (("image_column", image), ("label_column", label)):
            if column not in (AUTO, *features):
                raise UsageError(Kind.UNKNOWN, flag=flag, value=column, expected=[*features])
        images = [name for name, kind in kinds.items() if kind == "Image"] if image == AUTO else [image]
        classes = [name for name, column in features.items() if type(_find_inner(column)).__name__ == "ClassLabel"]
        usual = [name for name in LABELS if name in features]
        if len(images) != 1 or kinds[images[0]] != "Image":
            raise self._refuse(f"columns {list_some([*features])}", "name the one of images by {flag:image_column}")
        labels = [label] if label != AUTO else classes if len(classes) == 1 else usual[:1]
        if not labels:
            raise self._refuse(f"columns {list_some([*features])}", "name the one of labels by {flag:label_column}")
        return images[0], labels[0]

    def _refuse(self, problem: str, expected: str) -> UsageError:
        return UsageError(Kind.DAMAGED, problem, flag="dataset", file=self.path, expected=expected)


def _find_inner(feature: Any) -> Any:
    """Returns the feature of the elements of a sequence; any other feature itself."""
    inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
    return feature if inner is None else inner


def is_hugging_face(value: Any) -> bool:
    """Returns true for a `datasets.Dataset` or `DatasetDict` in memory."""
    return type(value).__module__.partition(".")[0] == "datasets" and hasattr(value, "save_to_disk")


def save_dataset(value: Any, folder: Path, note: Callable[[Path], None] = lambda path: None) -> str:
    """Saves a data set in memory into the data folder, once, and returns its name, ``hf:PATH``; a new folder is noted."""
    parts = value.values() if isinstance(value, Mapping) else [value]
    marks = "".join(str(getattr(part, "_fingerprint", "")) for part in parts)
    path = folder / FOLDER / "hf" / f"dataset-{hashlib.sha256(marks.encode()).hexdigest()[:8]}"
    if not path.is_dir():
        note(path)
    _save_once(value, path, type(value).__name__)
    return f"hf:{path}"


def fetch_from_hub(name: str, folder: Path) -> Path:
    """Downloads a data set of the hub into the data folder, once, and returns its folder; raises UsageError."""
    path = folder / FOLDER / "hf" / name
    if not name or path.is_dir():
        return path
    datasets = import_datasets()
    try:
        loaded = datasets.load_dataset(name, cache_dir=str(folder / "huggingface"))
    except FOREIGN as error:
        message, typed = message_of(error, first_line=True), f"hf:{name}"
        # The system's own errors, such as that of a full disk, have a number; those of an unknown name or of the hub have none.
        if getattr(error, "errno", None) is not None:
            problem = f"cannot be fetched: {message}"
            raise UsageError(Kind.INACCESSIBLE, problem, flag="dataset", value=typed) from error
        problem = f"neither a folder nor a data set of the hub: {message}"
        expected = "expected hf:PATH of a saved data set, or hf:OWNER/NAME"
        raise UsageError(Kind.MISSING, problem, flag="dataset", value=typed, expected=expected) from error
    _save_once(loaded, path, f"hf:{name}")
    return path


def _save_once(value: Any, path: Path, typed: str) -> None:
    """Saves a data set in a folder, completely or not at all, unless it is there.

    Args:
        typed: the name by which errors call the data set.

    Raises:
        UsageError: the folder cannot be written, or the data set cannot be saved, such as one whose image files are gone.
    """
    if path.is_dir():
        return
    try:
        make_folder(path.parent)
        with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as temporary:
            whole = Path(temporary) / "whole"
            try:
                value.save_to_disk(str(whole))
            except FOREIGN as error:
                if _is_of_folder(error, Path(temporary)):
                    raise
                problem = f"cannot be saved: {message_of(error, first_line=True)}"
                raise UsageError(Kind.DAMAGED, problem, flag="dataset", value=typed) from error
            with suppress(OSError):  # another process was faster
                put_folder_in_place(whole, path)
    except OSError as error:
        raise refuse_unwritable(path.parent, error) from error


def _is_of_folder(error: BaseException, folder: Path) -> bool:
    """Returns true for an error of the folder that is written, rather than of what is written into it."""
    if not isinstance(error, OSError):
        return False
    return error.errno in FULL or Path(str(error.filename)).is_relative_to(folder)


def import_datasets() -> Any:
    """Imports the library of Hugging Face; raises UsageError without it."""
    try:
        datasets = import_package("datasets")
    except FOREIGN as error:
        problem = f"needs the library datasets, which cannot be imported: {message_of(error)}"
        raise UsageError(
            Kind.MISSING, problem, flag="dataset", value="hf", expected="pip install 'capsbench[hf]'"
        ) from error
    return datasets
