"""The files of data sets: their paths, and checks that they are present and undamaged."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePosixPath

from capsbench.errors import Kind, UsageError

REMEDY = "delete it to have it downloaded again, or put a whole one there"
"""Advice on every damaged file."""

SMALL = 2**20
"""Limit in bytes of a file whose MD5 sum is computed quickly."""


@dataclass(frozen=True)
class DataFile:
    """A published file of a data set.

    Args:
        path: its path below the data folder, with forward slashes.
        url: its address; None: no program can download it.
        bytes: its size, if known.
        md5: its MD5 sum in hexadecimal digits, if known.
        most: the largest download in bytes if the size is unknown, because a server may send without end.
        decompressed: bytes of the content of a ``.gz`` or ``.zip``, and its MD5 sum or None, if known.
    """

    path: str
    url: str | None
    bytes: int | None = None
    md5: str | None = None
    most: int = 4 * 2**30
    decompressed: tuple[int, str | None] | None = None

    def find_in(self, folder: Path) -> Path | None:
        """Returns its path, as published or else decompressed (without ``.gz`` or ``.zip``); None if it is missing."""
        published = folder / self.path
        return next((path for path in (published, published.with_name(self._decompressed)) if path.is_file()), None)

    def find_fault(self, path: Path) -> str | None:
        """Returns how ``path`` differs from the published file or its content; None if size and MD5 sum fit, as far as known."""
        size, md5 = self._find_expected(path)
        if size is not None and path.stat().st_size != size:
            return f"expected {size} bytes, found {path.stat().st_size}"
        if md5 is not None:
            with path.open("rb") as file:
                actual = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
            if actual != md5:
                return f"expected the MD5 sum {md5}, found {actual}"
        return None

    def find_quick_fault(self, path: Path) -> str | None:
        """Returns the fault of a file as far as its size shows it; for a small file, as `find_fault`."""
        expected, _ = self._find_expected(path)
        size = path.stat().st_size
        return self.find_fault(path) if size <= SMALL or (expected is not None and size != expected) else None

    def check_content(self, path: Path) -> None:
        """Raises UsageError for a file that is not as published. A process reads a file for this only once, until it changes."""
        status = path.stat()
        fault = _find_fault(self, path, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        if fault is not None:
            raise UsageError(Kind.DAMAGED, fault, file=path, expected=REMEDY)

    @property
    def _decompressed(self) -> str:
        """The name of its decompressed content."""
        path = PurePosixPath(self.path)
        return path.stem if path.suffix in (".gz", ".zip") else path.name

    def _find_expected(self, path: Path) -> tuple[int | None, str | None]:
        """Returns the expected bytes and MD5 sum of ``path``, which may also be a partial download of another name."""
        is_content = path.name == self._decompressed != PurePosixPath(self.path).name
        return (self.decompressed or (None, None)) if is_content else (self.bytes, self.md5)

    def describe_in(self, folder: Path) -> tuple[bool, str]:
        """Returns (true if the file can be used, its state in a few words)."""
        path = self.find_in(folder)
        if path is None:
            return False, "missing"
        fault = self.find_fault(path)
        if fault is not None:
            return False, f"damaged: {fault}"
        checked = [
            name
            for name, known in zip(("size", "MD5 sum"), self._find_expected(path), strict=True)
            if known is not None
        ]
        here = "there" if path == folder / self.path else f"there, decompressed ({path.name})"
        return True, f"{here}, {' and '.join(checked)} as published" if checked else f"{here}, no size or MD5 sum known"


@cache
def _find_fault(file: DataFile, path: Path, stamp: tuple[int, ...]) -> str | None:
    """Returns `DataFile.find_fault`. The ``stamp`` of a file changes with its content, and with it the cached answer."""
    return file.find_fault(path)
