"""Downloads from a server on this machine, which serves ranges, cuts off, refuses and falls silent as it is told."""

import contextlib
import hashlib
import io
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from email.message import Message
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from capsbench.data import download as downloads
from capsbench.data.download import download_file
from capsbench.data.files import DataFile
from capsbench.errors import Kind
from tests.data.faults import missing_file, usage_error

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: "Server"

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        content, start = self.server.content, 0
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        self.server.versions.append(self.headers.get("If-Range"))
        if self.server.sends_on_to:
            self.send_response(302)
            self.send_header("Location", self.server.sends_on_to)
            self.end_headers()
            return
        same = self.headers.get("If-Range") in (None, self.server.version)
        if asked and self.server.ranges and (same or self.server.ignores_versions):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                if self.server.version:
                    self.send_header("ETag", self.server.version)
                self.end_headers()
                return
            self.send_response(206)
            total = str(len(content)) if self.server.says_total else "*"
            content = content[: start + self.server.at_a_time]
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{total}")
        else:
            self.send_response(200)
        if self.server.version:
            self.send_header("ETag" if self.server.version.endswith('"') else "Last-Modified", self.server.version)
        for length in self.server.lengths:
            self.send_header("Content-Length", str(len(content) - start) if length is None else length)
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            while self.server.endless:
                self.wfile.write(content)
        self.wfile.write(content[start : self.server.stops_at])
        self.wfile.flush()
        time.sleep(self.server.silent_for)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Serves ``content`` at any path; its attributes say how well."""

    content = CONTENT
    status = 200
    ranges = True
    lengths: Sequence[str | None] = (None,)  # None: as long as it is
    version = ""
    ignores_versions = endless = chunked = False
    says_total = True
    at_a_time = len(CONTENT)
    sends_on_to = ""
    stops_at: int | None = None
    silent_for = 0.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []
        self.versions: list[str | None] = []

    def handle_error(self, *_: object) -> None:
        """Says nothing of who hangs up, as they have to where it does not end."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/set/images.gz"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def published(server: Server, md5: str | None = MD5, size: int | None = len(CONTENT)) -> DataFile:
    return DataFile("set/images.gz", server.url, size, md5)


def part_of(folder: Path) -> Path:
    return folder / "set" / "images.gz.part"


def test_a_file_is_downloaded_whole_and_progress_is_told(server: Server, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    path = download_file(published(server), tmp_path, lambda here, total: told.append((here, total)))
    assert path == tmp_path / "set" / "images.gz"
    assert path.read_bytes() == CONTENT
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert len(told) > 3
    assert [*(tmp_path / "set").iterdir()] == [path]


def test_what_was_cut_off_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.stops_at = 300_000
    error = usage_error(download_file, published(server), tmp_path)
    assert (error.kind, error.file, error.value) == (Kind.DAMAGED, part_of(tmp_path), 300_000)
    assert part_of(tmp_path).read_bytes() == CONTENT[:300_000]
    server.stops_at = None
    told: list[int] = []
    download_file(published(server), tmp_path, lambda here, total: told.append(here))
    assert server.asked == [None, "bytes=300000-"]
    assert told[0] == 300_000
    assert (tmp_path / "set" / "images.gz").read_bytes() == CONTENT


def test_an_interrupted_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    def interrupt(here: int, total: int | None) -> None:
        if here:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_file(published(server), tmp_path, interrupt)
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["images.gz.part"]
    here = part_of(tmp_path).stat().st_size
    assert 0 < here < len(CONTENT)
    download_file(published(server), tmp_path)
    assert server.asked == [None, f"bytes={here}-"]
    assert (tmp_path / "set" / "images.gz").read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("left", [b"", CONTENT[:1000], CONTENT, CONTENT + b"more"])
def test_whatever_was_left_the_file_is_right_in_the_end(
    server: Server, tmp_path: Path, left: bytes, ranges: bool
) -> None:
    server.ranges = ranges
    part_of(tmp_path).parent.mkdir()
    part_of(tmp_path).write_bytes(left)
    assert download_file(published(server), tmp_path).read_bytes() == CONTENT


def test_without_a_length_the_md5_sum_decides(server: Server, tmp_path: Path) -> None:
    server.lengths = ()
    assert download_file(published(server), tmp_path).read_bytes() == CONTENT
    server.stops_at = 1000
    error = usage_error(download_file, published(server), tmp_path)
    assert (error.kind, error.file) == (Kind.DAMAGED, tmp_path / "set" / "images.gz")
    assert "1000" in error.problem.replace(";", " ").split()


@pytest.mark.parametrize(("md5", "size", "found"), [("0" * 32, len(CONTENT), MD5), (MD5, 5, str(len(CONTENT)))])
def test_a_wrong_file_is_removed_and_what_was_there_stays(
    server: Server, tmp_path: Path, md5: str, size: int, found: str
) -> None:
    path = tmp_path / "set" / "images.gz"
    path.parent.mkdir()
    path.write_bytes(b"earlier")
    error = usage_error(download_file, published(server, md5, size), tmp_path)
    assert (error.kind, error.file, error.value) == (Kind.DAMAGED, path, server.url)
    assert found in error.problem
    assert path.read_bytes() == b"earlier"
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("status", [404, 503])
def test_what_the_server_answers_is_told(server: Server, tmp_path: Path, status: int) -> None:
    server.status = status
    error = usage_error(download_file, published(server), tmp_path)
    assert (error.kind, error.value) == (Kind.MISSING, server.url)
    assert str(status) in error.problem.split()
    assert [*(tmp_path / "set").iterdir()] == []


def test_no_network(server: Server, tmp_path: Path) -> None:
    nobody = DataFile("set/images.gz", "http://127.0.0.1:9/images.gz")
    assert missing_file(download_file, nobody, tmp_path) == tmp_path / "set" / "images.gz"
    error = usage_error(download_file, nobody, tmp_path)
    assert error.value == nobody.url
    assert "Connection refused" in error.problem


def test_a_silent_server_is_not_waited_for(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "SECONDS", 0.2)
    server.stops_at, server.silent_for = 700_000, 1.0
    error = usage_error(download_file, published(server), tmp_path)
    assert (error.kind, error.value) == (Kind.MISSING, server.url)
    assert "timed out" in error.problem
    assert part_of(tmp_path).stat().st_size > 0


def test_a_disk_without_room_is_told_before_anything_is_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    error = usage_error(download_file, published(server), tmp_path)
    assert (error.kind, error.file, error.value) == (Kind.INACCESSIBLE, part_of(tmp_path), 1000)
    assert str(len(CONTENT)) in error.problem
    assert not part_of(tmp_path).exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full to write to")
def test_a_disk_that_becomes_full(server: Server, tmp_path: Path) -> None:
    part_of(tmp_path).parent.mkdir()
    part_of(tmp_path).symlink_to("/dev/full")
    error = usage_error(download_file, published(server), tmp_path)
    assert (error.kind, error.file) == (Kind.INACCESSIBLE, part_of(tmp_path))
    assert "No space left on device" in error.problem


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set").write_text("a file")
    error = usage_error(download_file, published(server), tmp_path)
    assert (error.kind, error.file) == (Kind.INACCESSIBLE, part_of(tmp_path))
    assert server.asked == []


def test_two_processes_do_not_append_to_one_file(server: Server, tmp_path: Path) -> None:
    part_of(tmp_path).parent.mkdir()
    with FileLock(f"{part_of(tmp_path)}.lock"):
        error = usage_error(download_file, published(server), tmp_path)
    assert (error.kind, error.file) == (Kind.BUSY, part_of(tmp_path))
    assert download_file(published(server), tmp_path).read_bytes() == CONTENT


def test_a_file_without_an_address_is_to_be_had_by_hand(tmp_path: Path) -> None:
    assert missing_file(download_file, DataFile("set/images.gz", None), tmp_path) == tmp_path / "set" / "images.gz"
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("lengths", [["abc"], ["-5"], ["5", "1024000"], ["1" * 30], [""], ["+5"]], ids=str)
def test_a_length_that_is_none_is_what_the_server_answers(
    server: Server, tmp_path: Path, lengths: list[str | None]
) -> None:
    server.lengths = lengths
    error = usage_error(download_file, published(server), tmp_path)
    assert (error.kind, error.file, error.value) == (Kind.MISSING, tmp_path / "set" / "images.gz", server.url)
    assert "Content-Length" in error.problem.split()
    assert [*(tmp_path / "set").iterdir()] == []


def test_the_same_length_twice_is_one(server: Server, tmp_path: Path) -> None:
    server.lengths = (None, None)
    assert download_file(published(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("length", ["0", "1000", str(len(CONTENT) + 1), str(10**15)])
def test_a_length_that_is_not_as_published_is_told_before_anything_is_written(
    server: Server, tmp_path: Path, length: str
) -> None:
    server.lengths = [length]
    error = usage_error(download_file, published(server), tmp_path)
    assert (error.kind, error.value) == (Kind.DAMAGED, server.url)
    assert length in error.problem.replace(";", " ").split()
    assert [*(tmp_path / "set").iterdir()] == []


def test_a_length_that_is_too_large_is_a_file_that_is_cut_off(server: Server, tmp_path: Path) -> None:
    server.lengths = [str(len(CONTENT) + 1)]
    error = usage_error(download_file, published(server, None, None), tmp_path)
    assert (error.kind, error.file, error.value) == (Kind.DAMAGED, part_of(tmp_path), len(CONTENT))


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_what_never_ends_is_read_up_to_the_size_or_to_what_is_stated(
    server: Server, tmp_path: Path, size: int | None
) -> None:
    server.lengths, server.endless, server.chunked = (), True, size is None
    server.content = CONTENT * 2
    told: list[int] = []
    file = DataFile("set/images.gz", server.url, size, most=len(CONTENT))
    error = usage_error(download_file, file, tmp_path, lambda here, total: told.append(here))
    assert (error.kind, error.file, error.value) == (Kind.DAMAGED, tmp_path / "set" / "images.gz", server.url)
    assert max(told) <= len(CONTENT)
    assert [*(tmp_path / "set").iterdir()] == []


def test_more_than_is_stated_is_not_asked_for(server: Server, tmp_path: Path) -> None:
    file = DataFile("set/images.gz", server.url, most=len(CONTENT) - 1)
    told: list[int] = []
    error = usage_error(download_file, file, tmp_path, lambda here, total: told.append(here))
    assert (error.kind, error.value, told) == (Kind.DAMAGED, server.url, [])


VERSION = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize("version", ['"one"', VERSION])
def test_without_a_sum_a_download_goes_on_if_it_is_the_same_version(
    server: Server, tmp_path: Path, version: str
) -> None:
    server.version, server.stops_at = version, 300_000
    file = published(server, None, None)
    assert usage_error(download_file, file, tmp_path).expected == "the same command resumes the download"
    server.stops_at = None
    path = download_file(file, tmp_path)
    assert (server.asked, server.versions) == ([None, "bytes=300000-"], [None, version])
    assert path.read_bytes() == CONTENT
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("ignores_versions", [False, True])
def test_without_a_sum_another_version_begins_anew(server: Server, tmp_path: Path, ignores_versions: bool) -> None:
    server.version, server.stops_at = '"one"', 300_000
    file = published(server, None, None)
    usage_error(download_file, file, tmp_path)
    server.content, server.version, server.stops_at = CONTENT[::-1], '"two"', None
    server.ignores_versions = ignores_versions
    assert download_file(file, tmp_path).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("version", ["", 'W/"weak"'])
def test_without_a_sum_and_a_version_a_download_begins_anew(server: Server, tmp_path: Path, version: str) -> None:
    server.version, server.stops_at = version, 300_000
    file = published(server, None, None)
    assert usage_error(download_file, file, tmp_path).expected == "try again"
    server.stops_at = None
    server.content = CONTENT[::-1]
    assert download_file(file, tmp_path).read_bytes() == CONTENT[::-1]
    assert server.asked == [None, None]


@pytest.mark.parametrize("version", ["a\nHost: b", "\xff", "\0"])
def test_a_version_that_no_server_sent_is_not_sent(server: Server, tmp_path: Path, version: str) -> None:
    part_of(tmp_path).parent.mkdir()
    part_of(tmp_path).write_bytes(b"left")
    part_of(tmp_path).with_name("images.gz.part.version").write_text(version, encoding="latin-1")
    assert download_file(published(server, None, None), tmp_path).read_bytes() == CONTENT
    assert server.versions == [None]


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/images.gz", "data:,text", "gopher://127.0.0.1/"]
)
def test_a_server_is_not_followed_to_other_schemes(server: Server, tmp_path: Path, url: str) -> None:
    server.sends_on_to = url
    error = usage_error(download_file, published(server, None, None), tmp_path)
    assert (error.kind, error.value) == (Kind.MISSING, server.url)
    assert [*(tmp_path / "set").iterdir()] == []


def test_a_server_is_not_followed_in_circles(server: Server, tmp_path: Path) -> None:
    server.sends_on_to = server.url
    assert usage_error(download_file, published(server), tmp_path).kind is Kind.MISSING
    assert len(server.asked) < 20


def test_a_server_is_followed_by_http(server: Server, tmp_path: Path) -> None:
    with Server() as other:
        other.sends_on_to = server.url
        thread = threading.Thread(target=other.handle_request)
        thread.start()
        assert download_file(published(other), tmp_path).read_bytes() == CONTENT
        thread.join()


@pytest.mark.parametrize(("url", "followed"), [("http://b/", False), ("https://b/", True), ("HTTP://b/", False)])
def test_from_https_only_https_is_followed(url: str, followed: bool) -> None:
    request = urllib.request.Request("https://a/")
    body = io.BytesIO(b"of an answer that need not end")
    redirect = partial(downloads._Redirects().redirect_request, request, body, 302, "Found", Message(), url)
    if followed:
        new = redirect()
        assert new is not None
        assert new.full_url == url
    else:
        with pytest.raises(downloads._Unreachable):
            redirect()
    assert body.closed


def test_files_of_this_machine_are_no_addresses(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(CONTENT)
    file = DataFile("set/images", f"file://{tmp_path}/images")
    assert missing_file(download_file, file, tmp_path) == tmp_path / "set" / "images"


@pytest.mark.parametrize("lengths", [(None,), ()])
def test_room_is_looked_for_whether_or_not_the_server_says_how_much(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lengths: tuple[None, ...]
) -> None:
    server.lengths = lengths
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=len(CONTENT) - 1))
    error = usage_error(download_file, published(server), tmp_path)
    assert (error.kind, error.file, error.value) == (Kind.INACCESSIBLE, part_of(tmp_path), len(CONTENT) - 1)
    assert not part_of(tmp_path).exists()


@pytest.mark.parametrize("says_total", [True, False])
@pytest.mark.parametrize("md5", [MD5, None])
def test_a_server_may_send_less_of_a_range_than_it_is_asked_for(
    server: Server, tmp_path: Path, md5: str | None, says_total: bool
) -> None:
    server.version, server.stops_at = '"one"', 300_000
    file = published(server, md5, None)
    usage_error(download_file, file, tmp_path)
    server.stops_at, server.at_a_time, server.says_total = None, 400_000, says_total
    assert download_file(file, tmp_path).read_bytes() == CONTENT
    assert server.asked[:3] == [None, "bytes=300000-", "bytes=700000-"]


def test_a_file_that_ends_where_another_version_does_begins_anew(server: Server, tmp_path: Path) -> None:
    server.version, server.stops_at = '"one"', 300_000
    file = published(server, None, None)
    usage_error(download_file, file, tmp_path)
    server.content, server.version, server.ignores_versions = CONTENT[::-1][:300_000], '"two"', True
    assert download_file(file, tmp_path).read_bytes() == server.content


def test_a_file_in_chunks_is_whole_with_the_last_one(server: Server, tmp_path: Path) -> None:
    server.lengths, server.chunked = (), True
    assert download_file(published(server, None, None), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("missing", [1_000, 9, 5])
def test_a_file_in_chunks_that_lacks_the_last_one_is_not_whole(server: Server, tmp_path: Path, missing: int) -> None:
    server.lengths, server.chunked, server.stops_at = (), True, len(CONTENT) + 14 - missing
    error = usage_error(download_file, published(server, None, None), tmp_path)
    assert (error.kind, error.value) == (Kind.MISSING, server.url)
    assert not (tmp_path / "set" / "images.gz").exists()


def test_a_file_of_which_nothing_tells_the_end_is_not_taken_for_whole(server: Server, tmp_path: Path) -> None:
    server.lengths = ()
    error = usage_error(download_file, published(server, None, None), tmp_path)
    assert (error.kind, error.value) == (Kind.MISSING, server.url)
    assert [*(tmp_path / "set").iterdir()] == []
