"""Reading of what may never end, such as an archive of zeros."""

from __future__ import annotations

from io import BufferedIOBase


class Bounded:
    """A file that is read up to its ``most``-th byte; OSError where there is more."""

    def __init__(self, file: BufferedIOBase, most: int) -> None:
        self.file, self.most = file, most
        self.left = most

    def read(self, size: int = -1) -> bytes:
        content = self.file.read(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(content)
        if self.left < 0:
            raise OSError(f"more than {self.most} bytes are in it")
        return content
