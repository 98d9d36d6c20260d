"""Files of a report: each is written whole or not at all, and the same numbers give the same bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from capsbench.errors import UsageError

FORMS = ("png", "svg")
"""The formats of a picture."""


def picture_files(figures: Mapping[str, Figure]) -> dict[str, bytes]:
    """File name -> content, of each picture in each of `FORMS`."""
    return {f"{name}.{form}": _image(figure, form) for name, figure in figures.items() for form in FORMS}


def content(write: Callable[[BytesIO], object]) -> bytes:
    """What ``write`` writes into a file."""
    file = BytesIO()
    write(file)
    return file.getvalue()


def write_files(
    folder: Path, contents: Mapping[str, bytes], pictures: Iterable[str], others: Iterable[str] = ()
) -> list[Path]:
    """Writes each file whole or not at all; what an earlier report left and this lacks is removed.

    Args:
        pictures: names without ending of those that there may be.
        others: names of further files that not every report has.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, written in contents.items():
            temporary = folder / f".{name}.{os.getpid()}"
            try:
                temporary.write_bytes(written)
                temporary.replace(folder / name)
            finally:
                temporary.unlink(missing_ok=True)
        for name in (*others, *(f"{picture}.{form}" for picture in pictures for form in FORMS)):
            if name not in contents:
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: the report cannot be written there: {error.strerror}") from error
    return [folder / name for name in contents]


def _image(figure: Figure, form: str) -> bytes:
    # Without the date and random identifiers, the same records give the same bytes.
    with mpl.rc_context({"svg.hashsalt": "capsbench"}):
        metadata = {"Date": None} if form == "svg" else None
        return content(lambda file: figure.savefig(file, format=form, dpi=200, metadata=metadata))
