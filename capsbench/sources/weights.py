"""Files of weights that were trained elsewhere: the digest of a file, which is on record, -> the file on this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from capsbench.errors import Kind, UsageError

NONE = "none"
"""The weights of a network that is trained here, from random ones."""

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
"""The names of files of weights; all but the first are those that `torch.save` writes of a ``state_dict``."""


class WeightsFile(NamedTuple):
    """A file of weights: its absolute path, its SHA-256 digest, and its path as the user typed it."""

    path: str
    sha256: str
    typed: str


_files: dict[str, WeightsFile] = {}
"""The first 12 digits of the digest of a file -> the file."""


def locate_weights(flag: str, typed: str) -> str:
    """Returns the digest of a file of weights in 12 hexadecimal digits, and remembers where it lies.

    Raises:
        UsageError: there is no such file, or its name has another suffix than `SUFFIXES`.
    """
    if typed == NONE:
        return NONE
    path = Path(typed).expanduser()
    if path.suffix not in SUFFIXES:
        expected = f"none, or a file of weights whose name ends in {', '.join(SUFFIXES)}"
        raise UsageError(Kind.INVALID, flag=flag, expected=expected, value=typed)
    sha256 = digest_file(flag, path)
    _files[sha256[:12]] = WeightsFile(str(path.absolute()), sha256, typed)
    return sha256[:12]


def digest_file(flag: str, path: Path) -> str:
    """Returns the SHA-256 digest of a file; raises UsageError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise UsageError(Kind.MISSING, "no such file", flag=flag, value=path) from error
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise UsageError(Kind.INACCESSIBLE, problem, flag=flag, value=path) from error


def find_weights(digest: str) -> WeightsFile | None:
    """Returns the file of some digits of a digest; None if its place is not known."""
    return _files.get(digest)


def spell_weights(digest: str) -> str:
    """Returns a file of weights as the user typed it."""
    return _files[digest].typed if digest in _files else digest
