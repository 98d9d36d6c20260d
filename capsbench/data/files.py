"""The files of data sets: which they are, and whether they are here and whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path


@dataclass(frozen=True)
class DataFile:
    """A published file of a data set.

    Args:
        path: where it lies below the data folder, with forward slashes.
        url: where it is downloaded from; None: it is to be had by hand alone.
        bytes: its size, where it is known.
        md5: its MD5 sum in hexadecimal digits, where it is known.
        most: bytes that are downloaded at most where its size is not known: a server may send without end.
    """

    path: str
    url: str | None
    bytes: int | None = None
    md5: str | None = None
    most: int = 4 * 2**30

    def found(self, folder: Path) -> Path | None:
        """Where it lies, as published or else decompressed (without its ``.gz`` or ``.zip``); None where it does not."""
        published = folder / self.path
        decompressed = published.with_suffix("") if published.suffix in (".gz", ".zip") else published
        return next((path for path in (published, decompressed) if path.is_file()), None)

    def fault(self, path: Path) -> str | None:
        """What tells ``path`` from the published file; None where nothing that is known of it does."""
        size = path.stat().st_size
        if self.bytes is not None and size != self.bytes:
            return f"expected {self.bytes} bytes, found {size}"
        if self.md5 is not None:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
            if found != self.md5:
                return f"expected the MD5 sum {self.md5}, found {found}"
        return None

    def state(self, folder: Path) -> tuple[bool, str]:
        """(whether it is fit to be read, what is known of it in a few words)."""
        path = self.found(folder)
        if path is None:
            return False, "missing"
        if path != folder / self.path:
            return True, f"there, decompressed ({path.name})"
        fault = self.fault(path)
        if fault is not None:
            return False, f"damaged: {fault}"
        checked = [what for what, known in (("size", self.bytes), ("MD5 sum", self.md5)) if known is not None]
        return True, f"there, {' and '.join(checked)} as published" if checked else "there, no size or MD5 sum known"
