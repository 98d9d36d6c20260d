"""Downloads of the files of data sets. A server may send anything, without end, and may send on to anywhere."""

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
"""A server that is silent for this long is taken for no network."""

CHUNK = 1 << 18
"""Bytes that are read, and told of, at a time."""

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes that are here and those of the whole file, None where the server does not say."""


def download(file: DataFile, folder: Path, on_progress: OnProgress = lambda here, total: None) -> Path:
    """Downloads a file, whole or not at all, and gives its path; what lay there is replaced.

    What has come lies in ``PATH.part`` until it is whole, so that a download that was cut off or interrupted goes on from
    there, if that is certain to be the same file: its MD5 sum is known, or the server marks its versions (ETag, Last-Modified),
    whose mark lies in ``PATH.part.version``. (torchvision's and urllib's own begin anew, under the final name.)

    Raises:
        UsageError: in one line, why there is no file: no network, what the server answers, no room, a folder that cannot be
            written, a wrong size or MD5 sum.
    """
    path = folder / file.path
    part = path.with_name(f"{path.name}.part")
    by_hand = "put the file there by hand, or name another folder by {flag:data_dir} or $CAPSBENCH_DATA"
    if file.url is None:
        raise UsageError(Kind.MISSING, "not to be had by a program", file=path, expected=by_hand)
    later_or_by_hand = f"try again later, {by_hand}"
    try:
        make_folder(path.parent)
        with _alone(part):
            try:
                _receive(file, file.url, part, on_progress)
                if fault := file.fault(part):
                    raise _Different(fault)
            except _Different as error:
                part.unlink(missing_ok=True)
                problem = f"{file.url}: {error}; what came was removed"
                raise UsageError(Kind.DAMAGED, problem, file=path, value=file.url, expected=later_or_by_hand) from error
            put_in_place({part: path})
            _version_file(part).unlink(missing_ok=True)
    except _Unreachable as error:
        problem = f"{file.url}: {error}"
        raise UsageError(Kind.MISSING, problem, file=path, value=file.url, expected=later_or_by_hand) from error
    except OSError as error:
        raise UsageError(Kind.INACCESSIBLE, f"cannot be written: {error.strerror or error}", file=part) from error
    return path


class _Unreachable(Exception):
    """What went wrong on the way to the server, told from what went wrong on the disk."""


class _Different(Exception):
    """What tells that which comes from the published file."""


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


def _receive(file: DataFile, url: str, part: Path, on_progress: OnProgress) -> None:
    """Appends to a file what it still lacks; a server may send less of it at a time than it is asked for."""
    while not _receive_answer(file, url, part, on_progress):
        pass


def _receive_answer(file: DataFile, url: str, part: Path, on_progress: OnProgress) -> bool:
    """Appends what one answer holds; true if the file is whole then. Raises UsageError where not all of the answer comes."""
    version = "" if file.md5 else _read_version(part)
    most = file.most if file.bytes is None else file.bytes
    here = part.stat().st_size if part.is_file() and (file.md5 or version) else 0
    if here > most:
        here = 0
    response = _answer(url, here, version)
    if response is None:
        return True
    with response:
        here, end, total = _extent_of(response)
        if end is None and not (response.chunked or file.bytes or file.md5):
            raise _Unreachable("the server does not say how long the file is, so a part of it could be taken for all")
        if file.bytes is not None and total not in (None, file.bytes):
            raise _Different(f"expected {file.bytes} bytes, found {total}")
        if total is not None and total > most:
            raise _Different(f"expected {most} bytes at most, found {total}")
        coming = (total or file.bytes or here) - here
        free = shutil.disk_usage(part.parent).free
        if free < coming:
            problem = f"no room: {coming} bytes are to come, and the disk has {free} left"
            raise UsageError(Kind.INACCESSIBLE, problem, file=part, value=free)
        if here == 0:
            version = "" if file.md5 else _version_of(response.headers)
            _write_version(part, version)
        with part.open("ab" if here else "wb") as out:
            on_progress(here, total)
            while chunk := _read(response, min(CHUNK, most + 1 - here)):
                out.write(chunk)
                here += len(chunk)
                if here > most:
                    raise _Different(f"expected {most} bytes at most, found more")
                on_progress(here, total)
    if end is not None and here != end:
        remedy = "the same command goes on from there" if file.md5 or version else "try again"
        problem = f"{url}: cut off after {here} of {total or end} bytes"
        raise UsageError(Kind.DAMAGED, problem, file=part, value=here, expected=remedy)
    return response.status == 200 or here == total


def _answer(url: str, start: int, version: str) -> HTTPResponse | None:
    """What the server sends from byte ``start`` on, or from the beginning; None where the file ends at ``start``.

    Args:
        version: the mark of the version that the first bytes are of, where one is known.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "capsbench"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    if start and version:
        request.add_header("If-Range", version)
    try:
        response: HTTPResponse = _opener().open(request, timeout=SECONDS)
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # nothing begins there
            whole = error.headers.get("Content-Range") == f"bytes */{start}"
            return None if whole and _may_be(error.headers, version) else _answer(url, 0, "")
        raise _Unreachable(_about_answer(error.code, str(error.reason))) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _Unreachable(f"cannot be reached ({getattr(error, 'reason', error)})") from error
    if response.status not in (200, 206) or (response.status == 206 and not start):
        response.close()
        raise _Unreachable(_about_answer(response.status, response.reason))
    if response.status == 206 and not _goes_on(response, start, version):
        response.close()
        return _answer(url, 0, "")
    return response


def _about_answer(status: int, reason: str) -> str:
    return f"the server answers {status} {' '.join(reason.split())[:200]}"


def _goes_on(response: HTTPResponse, start: int, version: str) -> bool:
    """Whether a part of a file begins at ``start``, and is of the same version where that is known."""
    sent = _range_of(response)
    return sent is not None and sent[0] == start and _may_be(response.headers, version)


def _may_be(headers: Message, version: str) -> bool:
    """Whether an answer is of a version, as far as both are known."""
    return not version or _version_of(headers) in ("", version)


def _extent_of(response: HTTPResponse) -> tuple[int, int | None, int | None]:
    """The first byte that an answer holds, the one after its last, and the length of the whole file; None: not said."""
    if response.status == 206 and (sent := _range_of(response)):
        return sent
    length = _length_of(response)
    return 0, length, length


def _range_of(response: HTTPResponse) -> tuple[int, int, int | None] | None:
    """The extent that a part of a file says it has; None if it says none."""
    number = "([0-9]{1,19})"
    told = re.fullmatch(rf"bytes {number}-{number}/(?:{number}|\*)", response.headers.get("Content-Range", ""))
    if told is None:
        return None
    start, end, total = int(told[1]), int(told[2]) + 1, int(told[3]) if told[3] else None
    return (start, end, total) if start < end and (total is None or end <= total) else None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address, by HTTP alone, and from HTTPS to HTTPS alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], *answer: Any
    ) -> urllib.request.Request | None:
        fp.close()  # urllib would read the whole of the answer first, which a server need not end
        newurl = answer[-1]
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme.lower() not in allowed:
            raise _Unreachable(f"the server sends on to {newurl}, which is not followed")
        return super().redirect_request(req, fp, *answer)


def _opener() -> urllib.request.OpenerDirector:
    """What opens addresses of HTTP and HTTPS; urllib's own opens files and FTP too."""
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


def _length_of(response: HTTPResponse) -> int | None:
    """The bytes that are to come, None where the server does not say."""
    lengths = {*(response.headers.get_all("Content-Length") or ())}
    if response.chunked or not lengths:
        return None
    told = ", ".join(sorted(lengths))
    if re.fullmatch("[0-9]{1,19}", told) is None:
        raise _Unreachable(f"the server answers with a Content-Length of {told[:100]}")
    return int(told)


def _version_of(headers: Message) -> str:
    """The mark of the version of a file that If-Range takes; empty where there is none."""
    tag: str = headers.get("ETag", "")
    return tag if tag.startswith('"') else str(headers.get("Last-Modified", ""))


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _read_version(part: Path) -> str:
    try:
        version = _version_file(part).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    return version if version.isascii() and version.isprintable() else ""  # else it is none that was sent


def _write_version(part: Path, version: str) -> None:
    if version:
        _version_file(part).write_text(version, encoding="utf-8")
    else:
        _version_file(part).unlink(missing_ok=True)


def _read(response: HTTPResponse, most: int) -> bytes:
    try:
        return response.read(most)
    except (OSError, HTTPException) as error:
        raise _Unreachable(f"the connection broke ({error}); what came is kept") from error
