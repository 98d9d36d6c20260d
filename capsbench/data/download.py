"""Downloads of the files of data sets. Servers are not trusted: one may send anything, without end, or redirect anywhere."""

from __future__ import annotations

import re
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from capsbench.data.files import DataFile
from capsbench.errors import Kind, UsageError
from capsbench.records.disk import make_folder, put_in_place

SECONDS = 30
"""A server that is silent for this long counts as unreachable."""

CHUNK = 1 << 18
"""Bytes per read, and per report of progress."""

OnProgress = Callable[[int, int | None], None]
"""Gets the bytes received so far and those of the whole file, None if the server does not give the length."""


def download_file(file: DataFile, folder: Path, on_progress: OnProgress = lambda here, total: None) -> Path:
    """Downloads a file, whole or not at all, and returns its path. An old file there is replaced.

    The bytes go to ``PATH.part`` until the file is whole. A later call resumes an interrupted download if it is certain to be
    the same file: its MD5 sum is known, or the server gives a version (ETag, Last-Modified), which is kept in
    ``PATH.part.version``. (The downloads of torchvision and urllib restart, under the final name.)

    Raises:
        UsageError: no network, an error from the server, no room, a folder that cannot be written, or a wrong size or MD5
            sum.
    """
    path = folder / file.path
    part = path.with_name(f"{path.name}.part")
    by_hand = "put the file there by hand, or name another folder by {flag:data_dir} or $CAPSBENCH_DATA"
    if file.url is None:
        raise UsageError(Kind.MISSING, "cannot be downloaded by a program", file=path, expected=by_hand)
    later_or_by_hand = f"try again later, {by_hand}"
    try:
        make_folder(path.parent)
        with _lock_part(part):
            try:
                _receive_file(file, file.url, part, on_progress)
                if fault := file.find_fault(part):
                    raise _Different(fault)
            except _Different as error:
                part.unlink(missing_ok=True)
                problem = f"{file.url}: {error}; the download was removed"
                raise UsageError(Kind.DAMAGED, problem, file=path, value=file.url, expected=later_or_by_hand) from error
            put_in_place({part: path})
            _to_version_path(part).unlink(missing_ok=True)
    except _Unreachable as error:
        problem = f"{file.url}: {error}"
        raise UsageError(Kind.MISSING, problem, file=path, value=file.url, expected=later_or_by_hand) from error
    except OSError as error:
        raise UsageError(Kind.INACCESSIBLE, f"cannot be written: {error.strerror or error}", file=part) from error
    return path


class _Unreachable(Exception):
    """A failure of the network or the server, as opposed to one of the disk."""


class _Different(Exception):
    """A difference between the download and the published file."""


@contextmanager
def _lock_part(part: Path) -> Iterator[None]:
    """Keeps other processes from appending to the same file."""
    lock = FileLock(part.with_name(f"{part.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        problem = "another process is downloading this file"
        raise UsageError(Kind.BUSY, problem, file=part, expected="wait for that process") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _receive_file(file: DataFile, url: str, part: Path, on_progress: OnProgress) -> None:
    """Appends the missing bytes to a file, in several requests if the server sends less than requested."""
    while not _receive_answer(file, url, part, on_progress):
        pass


def _receive_answer(file: DataFile, url: str, part: Path, on_progress: OnProgress) -> bool:
    """Appends the bytes of one response. Returns true if the file is then whole. Raises UsageError if the response is cut off."""
    version = "" if file.md5 else _read_version(part)
    most = file.most if file.bytes is None else file.bytes
    here = part.stat().st_size if part.is_file() and (file.md5 or version) else 0
    if here > most:
        here = 0
    response = _open_response(url, here, version)
    if response is None:
        return True
    with response:
        here, end, total = _read_extent(response)
        if end is None and not (response.chunked or file.bytes or file.md5):
            raise _Unreachable("the server does not give the length of the file, so a cut-off would go unnoticed")
        if file.bytes is not None and total not in (None, file.bytes):
            raise _Different(f"expected {file.bytes} bytes, found {total}")
        if total is not None and total > most:
            raise _Different(f"expected {most} bytes at most, found {total}")
        coming = (total or file.bytes or here) - here
        free = shutil.disk_usage(part.parent).free
        if free < coming:
            problem = f"no room: {coming} bytes are missing, and the disk has {free} left"
            raise UsageError(Kind.INACCESSIBLE, problem, file=part, value=free)
        if here == 0:
            version = "" if file.md5 else _parse_version(response.headers)
            _write_version(part, version)
        with part.open("ab" if here else "wb") as out:
            on_progress(here, total)
            while chunk := _read_chunk(response, min(CHUNK, most + 1 - here)):
                out.write(chunk)
                here += len(chunk)
                if here > most:
                    raise _Different(f"expected {most} bytes at most, found more")
                on_progress(here, total)
    if end is not None and here != end:
        remedy = "the same command resumes the download" if file.md5 or version else "try again"
        problem = f"{url}: cut off after {here} of {total or end} bytes"
        raise UsageError(Kind.DAMAGED, problem, file=part, value=here, expected=remedy)
    return response.status == 200 or here == total


def _open_response(url: str, start: int, version: str) -> HTTPResponse | None:
    """Requests a file from byte ``start``. The response may begin at byte 0; None if the file ends at ``start``.

    Args:
        version: the version of the bytes already received, or empty.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "capsbench"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    if start and version:
        request.add_header("If-Range", version)
    try:
        response: HTTPResponse = _build_opener().open(request, timeout=SECONDS)
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # the file has no byte at ``start``
            whole = error.headers.get("Content-Range") == f"bytes */{start}"
            return None if whole and _is_compatible(error.headers, version) else _open_response(url, 0, "")
        raise _Unreachable(_describe_answer(error.code, str(error.reason))) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _Unreachable(f"cannot be reached ({getattr(error, 'reason', error)})") from error
    if response.status not in (200, 206) or (response.status == 206 and not start):
        response.close()
        raise _Unreachable(_describe_answer(response.status, response.reason))
    if response.status == 206 and not _is_continuation(response, start, version):
        response.close()
        return _open_response(url, 0, "")
    return response


def _describe_answer(status: int, reason: str) -> str:
    return f"the server answers {status} {' '.join(reason.split())[:200]}"


def _is_continuation(response: HTTPResponse, start: int, version: str) -> bool:
    """Returns true if a partial response begins at ``start`` and may be of the same version."""
    sent = _parse_range(response)
    return sent is not None and sent[0] == start and _is_compatible(response.headers, version)


def _is_compatible(headers: Message, version: str) -> bool:
    """Returns true unless both versions are known and differ."""
    return not version or _parse_version(headers) in ("", version)


def _read_extent(response: HTTPResponse) -> tuple[int, int | None, int | None]:
    """Returns the first byte of a response, the byte after its last, and the length of the whole file; None: unknown."""
    if response.status == 206 and (sent := _parse_range(response)):
        return sent
    length = _parse_length(response)
    return 0, length, length


def _parse_range(response: HTTPResponse) -> tuple[int, int, int | None] | None:
    """Parses the Content-Range of a partial response; None if it has no valid one."""
    number = "([0-9]{1,19})"
    match = re.fullmatch(rf"bytes {number}-{number}/(?:{number}|\*)", response.headers.get("Content-Range", ""))
    if match is None:
        return None
    start, end, total = int(match[1]), int(match[2]) + 1, int(match[3]) if match[3] else None
    return (start, end, total) if start < end and (total is None or end <= total) else None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to HTTP and HTTPS, and from HTTPS only to HTTPS."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], *answer: Any
    ) -> urllib.request.Request | None:
        fp.close()  # urllib would first read the whole response, which may never end
        newurl = answer[-1]
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme.lower() not in allowed:
            raise _Unreachable(f"the server redirects to {newurl}, which is not allowed")
        return super().redirect_request(req, fp, *answer)


def _build_opener() -> urllib.request.OpenerDirector:
    """Builds an opener of HTTP and HTTPS addresses only. That of urllib opens files and FTP too."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        _Redirects,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _parse_length(response: HTTPResponse) -> int | None:
    """Parses the Content-Length; None if the server gives none."""
    lengths = {*(response.headers.get_all("Content-Length") or ())}
    if response.chunked or not lengths:
        return None
    length = ", ".join(sorted(lengths))
    if re.fullmatch("[0-9]{1,19}", length) is None:
        raise _Unreachable(f"the server answers with a Content-Length of {length[:100]}")
    return int(length)


def _parse_version(headers: Message) -> str:
    """Returns the version of a file in the form that If-Range takes; empty if there is none."""
    tag: str = headers.get("ETag", "")
    return tag if tag.startswith('"') else str(headers.get("Last-Modified", ""))


def _to_version_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _read_version(part: Path) -> str:
    try:
        version = _to_version_path(part).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    return version if version.isascii() and version.isprintable() else ""  # a header holds no other characters


def _write_version(part: Path, version: str) -> None:
    if version:
        _to_version_path(part).write_text(version, encoding="utf-8")
    else:
        _to_version_path(part).unlink(missing_ok=True)


def _read_chunk(response: HTTPResponse, most: int) -> bytes:
    try:
        return response.read(most)
    except (OSError, HTTPException) as error:
        raise _Unreachable(f"the connection broke ({error}); the partial download is kept") from error
