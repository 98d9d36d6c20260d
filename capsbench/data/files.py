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
        instead: another file with the same content in another format, which is used where this one is missing.
        impostors: MD5 sum -> what it is, of other files that have this name; pairs, since a file has to be hashable.
    """

    path: str
    url: str | None
    bytes: int | None = None
    md5: str | None = None
    most: int = 4 * 2**30
    decompressed: tuple[int, str | None] | None = None
    instead: DataFile | None = None
    impostors: tuple[tuple[str, str], ...] = ()

    def find_in(self, folder: Path) -> Path | None:
        """Returns its path: as published, or decompressed (without ``.gz`` or ``.zip``), or ``instead``; None if missing."""
        path = self._find_own_form(folder)
        return self.instead.find_in(folder) if path is None and self.instead is not None else path

    def _find_own_form(self, folder: Path) -> Path | None:
        """Returns its path if it is there in its own format."""
        published = folder / self.path
        return next((path for path in (published, published.with_name(self._decompressed)) if path.is_file()), None)

    def find_fault(self, path: Path) -> str | None:
        """Returns how ``path`` differs from the published file or its content; None if size and MD5 sum fit, as far as known."""
        size, md5 = self._find_expected(path)
        if size is not None and path.stat().st_size != size:
            return f"expected {size} bytes, found {path.stat().st_size}"
        if md5 is not None or self.impostors:
            with path.open("rb") as file:
                actual = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
            if actual in dict(self.impostors):
                return f"expected the published file, found {dict(self.impostors)[actual]}"
            if md5 not in (None, actual):
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
        if path.is_dir():
            return None, None
        if self.instead is not None and path.name == PurePosixPath(self.instead.path).name:
            return self.instead._find_expected(path)
        return (self.decompressed or (None, None)) if self._is_content(path) else (self.bytes, self.md5)

    def _name_form(self, path: Path) -> str:
        """Returns the form of ``path``, which is not the published file."""
        if path.is_dir():
            return "unpacked"
        return "decompressed" if self._is_content(path) else "in another format"

    def _is_content(self, path: Path) -> bool:
        """Returns true for the path of its decompressed content."""
        return path.name == self._decompressed != PurePosixPath(self.path).name

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
        here = "there" if path == folder / self.path else f"there, {self._name_form(path)} ({path.name})"
        return True, f"{here}, {' and '.join(checked)} as published" if checked else f"{here}, no size or MD5 sum known"


@dataclass(frozen=True)
class Archive(DataFile):
    """An archive that may also be unpacked in the data folder, as by torchvision.

    Args:
        folder: the path of the unpacked folder below the data folder.
        members: files and folders inside that folder, all of which have to be there.
    """

    folder: str = ""
    members: tuple[str, ...] = ()

    def _find_own_form(self, folder: Path) -> Path | None:
        unpacked = folder / self.folder
        whole = unpacked.is_dir() and all((unpacked / member).exists() for member in self.members)
        return super()._find_own_form(folder) or (unpacked if whole else None)


@cache
def _find_fault(file: DataFile, path: Path, stamp: tuple[int, ...]) -> str | None:
    """Returns `DataFile.find_fault`. The ``stamp`` of a file changes with its content, and with it the cached answer."""
    return file.find_fault(path)
