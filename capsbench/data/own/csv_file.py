"""Image files that a table lists: ``csv:PATH``.

The name of the column tells labels of one class from labels of any number: ``label`` or ``labels``.
"""

from __future__ import annotations

import csv
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from capsbench.data.own.base import FilePicture, OwnImages
from capsbench.data.own.splits import find_part, list_some
from capsbench.errors import Kind, UsageError

COLUMNS = {
    "file": ("file", "filename", "file_name", "path", "filepath", "image", "img"),
    "label": ("label", "class", "target", "category"),
    "labels": ("labels", "classes", "targets", "categories", "tags"),
    "split": ("split", "part", "set", "subset"),
}
"""Column -> the names that it may have, in any case."""

SEPARATOR = "|"
"""Stands between the classes of an image in the column of labels. An empty cell is an image of no class."""

EXPECTED = "expected a first line of the columns file, label (or labels) and, if the images are split, split"


class CsvSet(OwnImages):
    """Image files by their paths, seen from the folder of the table, with a class, or any number, and perhaps a part each."""

    version = 1

    def list_pictures(self) -> Sequence[FilePicture]:
        rows = self._read_rows()
        pictures = [self._read_row(number, row) for number, row in enumerate(rows, start=2) if any(row.values())]
        if not pictures:
            raise self._refuse("no images", EXPECTED)
        files = [_find_spelling(self.path.parent, picture.name) for picture in pictures]
        paths = [os.path.normpath(file) for file in files]
        counts = Counter(paths)
        twice = sorted({picture.name for picture, path in zip(pictures, paths, strict=True) if counts[path] > 1})
        if twice:
            raise self._refuse(f"files listed twice: {list_some(twice)}", "expected one line for each file", twice)
        missing = [picture.name for picture, file in zip(pictures, files, strict=True) if not file.is_file()]
        if missing:
            problem = f"{len(missing)} of {len(pictures)} files are missing: {list_some(missing)}"
            raise self._refuse(problem, f"expected paths seen from {self.path.parent}", missing)
        if len({picture.part == "" for picture in pictures}) > 1:
            raise self._refuse("lines without a split beside lines with one", "give every line a split, or none")
        return pictures

    def _read_rows(self) -> list[dict[str, str]]:
        """Returns the lines of the table: column of `COLUMNS` -> value."""
        if not self.path.is_file():
            problem = "a folder, no file" if self.path.is_dir() else "no such file"
            raise UsageError(Kind.MISSING, problem, flag="dataset", file=self.path, expected=EXPECTED)
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                first = file.readline()
                file.seek(0)
                delimiter = max(",;\t", key=first.count)
                lines = list(csv.reader(file, delimiter=delimiter))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise self._refuse(f"cannot be read: {error}", "expected a table in UTF-8") from error
        header = [name.strip().lower() for name in lines[0]] if lines else []
        places = {
            column: [place for place, name in enumerate(header) if name in names] for column, names in COLUMNS.items()
        }
        if not places["file"] or not (places["label"] or places["labels"]):
            raise self._refuse(f"columns {list_some(header) or 'none'}", EXPECTED)
        # The first of two would be a guess.
        meanings = {"files": places["file"], "labels": places["label"] + places["labels"], "splits": places["split"]}
        for meaning, found in meanings.items():
            if len(found) > 1:
                columns = [header[place] for place in found]
                raise self._refuse(f"{len(found)} columns of {meaning}: {list_some(columns)}", "keep one", columns)
        self.any_number = bool(places["labels"])
        return [
            {
                column: line[indices[0]].strip()
                for column, indices in places.items()
                if indices and indices[0] < len(line)
            }
            for line in lines[1:]
        ]

    def _read_row(self, number: int, row: dict[str, str]) -> FilePicture:
        name, split = row.get("file", ""), row.get("split", "")
        part = find_part(split) if split else ""
        if not name:
            raise self._refuse(f"line {number}: no file", EXPECTED, number)
        if part is None:
            raise self._refuse(f"line {number}: split {split!r}", "expected train, validation or test", split)
        labels = self._read_several(number, row) if self.any_number else self._read_single(number, row)
        return FilePicture(_find_spelling(self.path.parent, name), name, labels, part)

    def _read_single(self, number: int, row: dict[str, str]) -> list[str]:
        label = row.get("label", "")
        if not label:
            raise self._refuse(f"line {number}: no label", EXPECTED, number)
        if SEPARATOR in label:  # as one class each, combinations of classes would pass unnoticed
            expected = f"expected one class; name the column labels if {SEPARATOR} separates several"
            raise self._refuse(f"line {number}: label {label!r}", expected, label)
        return [label]

    def _read_several(self, number: int, row: dict[str, str]) -> list[str]:
        cell = row.get("labels")
        if cell is None:  # a line that ends early is no image of no class
            raise self._refuse(f"line {number}: no column of labels", "leave its cell empty for no class", number)
        names = [name.strip() for name in cell.split(SEPARATOR)] if cell else []
        if "" in names or len(set(names)) < len(names):
            expected = f"expected different classes with {SEPARATOR} between two, or an empty cell for none"
            raise self._refuse(f"line {number}: labels {cell!r}", expected, cell)
        return names

    def _refuse(self, problem: str, expected: str, value: object = None) -> UsageError:
        return UsageError(Kind.DAMAGED, problem, flag="dataset", file=self.path, value=value, expected=expected)


def _find_spelling(folder: Path, name: str) -> Path:
    """Returns the path of a file by its name, whose accents the disk may keep in another form than the table."""
    forms = (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))
    return next((folder / form for form in forms if (folder / form).is_file()), folder / name)
