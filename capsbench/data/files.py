"""The files of data sets: which they are, whether they are here and whole, and how they are downloaded."""

from __future__ import annotations

import hashlib
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError

from filelock import FileLock, Timeout

from capsbench.errors import Kind, UsageError

SECONDS = 30
"""A server that is silent for this long is taken for no network."""

CHUNK = 1 << 18
"""Bytes that are read, and told of, at a time."""

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes that are here and those of the whole file, None where the server does not say."""


@dataclass(frozen=True)
class DataFile:
    """A published file of a data set.

    Args:
        path: where it lies below the data folder, with forward slashes.
        url: where it is downloaded from; None: it is to be had by hand alone.
        bytes: its size, where it is known.
        md5: its MD5 sum in hexadecimal digits, where it is known.
    """

    path: str
    url: str | None
    bytes: int | None = None
    md5: str | None = None

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


def download(file: DataFile, folder: Path, on_progress: OnProgress = lambda here, total: None) -> Path:
    """Downloads a file, whole or not at all, and gives its path; what lay there is replaced.

    What has come lies in ``PATH.part`` until it is whole, so that a download that was cut off or interrupted goes on from
    there. (torchvision's and urllib's own begin anew, under the final name.)

    Raises:
        UsageError: in one line, why there is no file: no network, what the server answers, no room, a folder that cannot be
            written, a wrong MD5 sum.
    """
    path = folder / file.path
    part = path.with_name(f"{path.name}.part")
    by_hand = "put the file there by hand, or name another folder by {flag:data_dir} or $CAPSBENCH_DATA"
    if file.url is None:
        raise UsageError(Kind.MISSING, "not to be had by a program", file=path, expected=by_hand)
    later_or_by_hand = f"try again later, {by_hand}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part):
            _receive(file.url, part, on_progress)
            fault = file.fault(part)
            if fault is not None:
                part.unlink()
                problem = f"{file.url}: {fault}; what came was removed"
                raise UsageError(Kind.DAMAGED, problem, file=path, value=file.url, expected=later_or_by_hand)
            part.replace(path)
    except _Unreachable as error:
        problem = f"{file.url}: {error}"
        raise UsageError(Kind.MISSING, problem, file=path, value=file.url, expected=later_or_by_hand) from error
    except OSError as error:
        raise UsageError(Kind.INACCESSIBLE, f"cannot be written: {error.strerror or error}", file=part) from error
    return path


class _Unreachable(Exception):
    """What went wrong on the way to the server, told from what went wrong on the disk."""


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Keeps other processes from appending to the same file."""
    lock = FileLock(part.with_name(f"{part.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        problem = "another process is downloading this file"
        raise UsageError(Kind.BUSY, problem, file=part, expected="wait for that one") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _receive(url: str, part: Path, on_progress: OnProgress) -> None:
    """Appends to a file what it still lacks; raises UsageError where that is not all that comes."""
    here = part.stat().st_size if part.is_file() else 0
    response = _answer(url, here)
    if response is None:
        return
    with response:
        if response.status != 206:  # it comes from the beginning
            here = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else here + int(length)
        free = shutil.disk_usage(part.parent).free
        if total is not None and free < total - here:
            problem = f"no room: {total - here} bytes are to come, and the disk has {free} left"
            raise UsageError(Kind.INACCESSIBLE, problem, file=part, value=free)
        with part.open("ab" if here else "wb") as out:
            on_progress(here, total)
            while chunk := _read(response):
                out.write(chunk)
                here += len(chunk)
                on_progress(here, total)
    if total is not None and here != total:
        problem = f"{url}: cut off after {here} of {total} bytes"
        raise UsageError(Kind.DAMAGED, problem, file=part, value=here, expected="the same command goes on from there")


def _answer(url: str, start: int) -> HTTPResponse | None:
    """What the server sends from byte ``start`` on, or from the beginning; None where the file ends at ``start``."""
    request = urllib.request.Request(url, headers={"User-Agent": "capsbench"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=SECONDS)
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # nothing begins there
            whole = error.headers.get("Content-Range") == f"bytes */{start}"
            return None if whole else _answer(url, 0)
        raise _Unreachable(f"the server answers {error.code} {error.reason}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise _Unreachable(f"cannot be reached ({getattr(error, 'reason', error)})") from error
    return response


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise _Unreachable(f"the connection broke ({error}); what came is kept") from error
