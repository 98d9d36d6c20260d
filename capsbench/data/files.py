"""The files of data sets: which they are, and whether they are here and whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePosixPath

from capsbench.errors import Kind, UsageError

REMEDY = "delete it to have it downloaded again, or put a whole one there"
"""What to do about every damaged file."""

SMALL = 2**20
"""Bytes of a file whose sum takes no time."""


@dataclass(frozen=True)
class DataFile:
    """A published file of a data set.

    Args:
        path: where it lies below the data folder, with forward slashes.
        url: where it is downloaded from; None: it is to be had by hand alone.
        bytes: its size, where it is known.
        md5: its MD5 sum in hexadecimal digits, where it is known.
        most: bytes that are downloaded at most where its size is not known: a server may send without end.
        decompressed: bytes of the content of a ``.gz`` or ``.zip``, and its MD5 sum or None, where they are known.
    """

    path: str
    url: str | None
    bytes: int | None = None
    md5: str | None = None
    most: int = 4 * 2**30
    decompressed: tuple[int, str | None] | None = None

    def found(self, folder: Path) -> Path | None:
        """Where it lies, as published or else decompressed (without its ``.gz`` or ``.zip``); None where it does not."""
        published = folder / self.path
        return next((path for path in (published, published.with_name(self._decompressed)) if path.is_file()), None)

    def fault(self, path: Path) -> str | None:
        """What tells ``path`` from the published file, or from what is in it; None where nothing that is known of it does."""
        size, md5 = self._known_of(path)
        if size is not None and path.stat().st_size != size:
            return f"expected {size} bytes, found {path.stat().st_size}"
        if md5 is not None:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
            if found != md5:
                return f"expected the MD5 sum {md5}, found {found}"
        return None

    def find_quick_fault(self, path: Path) -> str | None:
        """Returns the fault of a file as far as its size tells it; for a small file, as `fault`."""
        size, _ = self._known_of(path)
        here = path.stat().st_size
        return self.fault(path) if here <= SMALL or (size is not None and here != size) else None

    def check(self, path: Path) -> None:
        """Raises UsageError for a file that is not as published; each is read for that once in a process, until it changes."""
        status = path.stat()
        fault = _fault_of(self, path, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        if fault is not None:
            raise UsageError(Kind.DAMAGED, fault, file=path, expected=REMEDY)

    @property
    def _decompressed(self) -> str:
        """The name that its content has where it lies decompressed."""
        path = PurePosixPath(self.path)
        return path.stem if path.suffix in (".gz", ".zip") else path.name

    def _known_of(self, path: Path) -> tuple[int | None, str | None]:
        """The bytes and the MD5 sum that ``path`` should have; it may also be a part of a download, of another name."""
        is_content = path.name == self._decompressed != PurePosixPath(self.path).name
        return (self.decompressed or (None, None)) if is_content else (self.bytes, self.md5)

    def state(self, folder: Path) -> tuple[bool, str]:
        """(whether it is fit to be read, what is known of it in a few words)."""
        path = self.found(folder)
        if path is None:
            return False, "missing"
        fault = self.fault(path)
        if fault is not None:
            return False, f"damaged: {fault}"
        checked = [
            what for what, known in zip(("size", "MD5 sum"), self._known_of(path), strict=True) if known is not None
        ]
        here = "there" if path == folder / self.path else f"there, decompressed ({path.name})"
        return True, f"{here}, {' and '.join(checked)} as published" if checked else f"{here}, no size or MD5 sum known"


@cache
def _fault_of(file: DataFile, path: Path, stamp: tuple[int, ...]) -> str | None:
    """`DataFile.fault` of a file that had this stamp when it was looked at."""
    return file.fault(path)
