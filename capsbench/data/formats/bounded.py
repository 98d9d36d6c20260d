"""Bounded reading of a file of unknown length, such as a decompressed archive."""

from __future__ import annotations

from io import BufferedIOBase


class Bounded:
    """Reads at most ``most`` bytes of a file, and raises OSError if it holds more."""

    def __init__(self, file: BufferedIOBase, most: int) -> None:
        self.file, self.most = file, most
        self.left = most

    def read(self, size: int = -1) -> bytes:
        content = self.file.read(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(content)
        if self.left < 0:
            raise OSError(f"more than {self.most} bytes are in it")
        return content
