"""Downloads from a server on this machine, which serves ranges, cuts off, refuses and falls silent as it is told."""

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from capsbench.data import files
from capsbench.data.files import DataFile, download
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
        if asked and self.server.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if self.server.says_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.server.stops_at])
        self.wfile.flush()
        time.sleep(self.server.silent_for)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Serves ``content`` at any path; its attributes say how well."""

    content = CONTENT
    status = 200
    ranges = says_length = True
    stops_at: int | None = None
    silent_for = 0.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

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
    path = download(published(server), tmp_path, lambda here, total: told.append((here, total)))
    assert path == tmp_path / "set" / "images.gz"
    assert path.read_bytes() == CONTENT
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert len(told) > 3
    assert [*(tmp_path / "set").iterdir()] == [path]


def test_what_was_cut_off_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.stops_at = 300_000
    error = usage_error(download, published(server), tmp_path)
    assert (error.kind, error.file, error.value) == (Kind.DAMAGED, part_of(tmp_path), 300_000)
    assert part_of(tmp_path).read_bytes() == CONTENT[:300_000]
    server.stops_at = None
    told: list[int] = []
    download(published(server), tmp_path, lambda here, total: told.append(here))
    assert server.asked == [None, "bytes=300000-"]
    assert told[0] == 300_000
    assert (tmp_path / "set" / "images.gz").read_bytes() == CONTENT


def test_an_interrupted_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    def interrupt(here: int, total: int | None) -> None:
        if here:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(published(server), tmp_path, interrupt)
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["images.gz.part"]
    here = part_of(tmp_path).stat().st_size
    assert 0 < here < len(CONTENT)
    download(published(server), tmp_path)
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
    assert download(published(server), tmp_path).read_bytes() == CONTENT


def test_without_a_length_the_md5_sum_decides(server: Server, tmp_path: Path) -> None:
    server.says_length = False
    assert download(published(server), tmp_path).read_bytes() == CONTENT
    server.stops_at = 1000
    error = usage_error(download, published(server), tmp_path)
    assert (error.kind, error.file) == (Kind.DAMAGED, tmp_path / "set" / "images.gz")
    assert "1000" in error.problem.replace(";", " ").split()


@pytest.mark.parametrize(("md5", "size", "found"), [("0" * 32, len(CONTENT), MD5), (MD5, 5, str(len(CONTENT)))])
def test_a_wrong_file_is_removed_and_what_was_there_stays(
    server: Server, tmp_path: Path, md5: str, size: int, found: str
) -> None:
    path = tmp_path / "set" / "images.gz"
    path.parent.mkdir()
    path.write_bytes(b"earlier")
    error = usage_error(download, published(server, md5, size), tmp_path)
    assert (error.kind, error.file, error.value) == (Kind.DAMAGED, path, server.url)
    assert found in error.problem
    assert path.read_bytes() == b"earlier"
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("status", [404, 503])
def test_what_the_server_answers_is_told(server: Server, tmp_path: Path, status: int) -> None:
    server.status = status
    error = usage_error(download, published(server), tmp_path)
    assert (error.kind, error.value) == (Kind.MISSING, server.url)
    assert str(status) in error.problem.split()
    assert [*(tmp_path / "set").iterdir()] == []


def test_no_network(server: Server, tmp_path: Path) -> None:
    nobody = DataFile("set/images.gz", "http://127.0.0.1:9/images.gz")
    assert missing_file(download, nobody, tmp_path) == tmp_path / "set" / "images.gz"
    error = usage_error(download, nobody, tmp_path)
    assert error.value == nobody.url
    assert "Connection refused" in error.problem


def test_a_silent_server_is_not_waited_for(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SECONDS", 0.2)
    server.stops_at, server.silent_for = 700_000, 1.0
    error = usage_error(download, published(server), tmp_path)
    assert (error.kind, error.value) == (Kind.MISSING, server.url)
    assert "timed out" in error.problem
    assert part_of(tmp_path).stat().st_size > 0


def test_a_disk_without_room_is_told_before_anything_is_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    error = usage_error(download, published(server), tmp_path)
    assert (error.kind, error.file, error.value) == (Kind.INACCESSIBLE, part_of(tmp_path), 1000)
    assert str(len(CONTENT)) in error.problem
    assert not part_of(tmp_path).exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full to write to")
def test_a_disk_that_becomes_full(server: Server, tmp_path: Path) -> None:
    part_of(tmp_path).parent.mkdir()
    part_of(tmp_path).symlink_to("/dev/full")
    error = usage_error(download, published(server), tmp_path)
    assert (error.kind, error.file) == (Kind.INACCESSIBLE, part_of(tmp_path))
    assert "No space left on device" in error.problem


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set").write_text("a file")
    error = usage_error(download, published(server), tmp_path)
    assert (error.kind, error.file) == (Kind.INACCESSIBLE, part_of(tmp_path))
    assert server.asked == []


def test_two_processes_do_not_append_to_one_file(server: Server, tmp_path: Path) -> None:
    part_of(tmp_path).parent.mkdir()
    with FileLock(f"{part_of(tmp_path)}.lock"):
        error = usage_error(download, published(server), tmp_path)
    assert (error.kind, error.file) == (Kind.BUSY, part_of(tmp_path))
    assert download(published(server), tmp_path).read_bytes() == CONTENT


def test_a_file_without_an_address_is_to_be_had_by_hand(tmp_path: Path) -> None:
    assert missing_file(download, DataFile("set/images.gz", None), tmp_path) == tmp_path / "set" / "images.gz"
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("content", "size", "md5", "state"),
    [
        (None, None, None, (False, "missing")),
        (CONTENT, len(CONTENT), MD5, (True, "there, size and MD5 sum as published")),
        (CONTENT, len(CONTENT), None, (True, "there, size as published")),
        (CONTENT, None, None, (True, "there, no size or MD5 sum known")),
        (CONTENT[1:], len(CONTENT), MD5, (False, "damaged: expected 1024000 bytes, found 1023999")),
        (CONTENT[::-1], len(CONTENT), MD5, (False, f"damaged: expected the MD5 sum {MD5}, found ")),
    ],
)
def test_the_state_of_a_file(
    tmp_path: Path, content: bytes | None, size: int | None, md5: str | None, state: tuple[bool, str]
) -> None:
    if content is not None:
        (tmp_path / "images.gz").write_bytes(content)
    fit, text = DataFile("images.gz", None, size, md5).state(tmp_path)
    assert fit == state[0]
    assert text.startswith(state[1])


@pytest.mark.parametrize(("name", "decompressed"), [("images.gz", "images"), ("test.mat.zip", "test.mat")])
def test_a_decompressed_file_is_taken_in_place_of_the_published_one(
    tmp_path: Path, name: str, decompressed: str
) -> None:
    (tmp_path / decompressed).write_bytes(b"anything")
    file = DataFile(name, None, 5, MD5)
    assert file.found(tmp_path) == tmp_path / decompressed
    assert file.state(tmp_path) == (True, f"there, decompressed ({decompressed})")
    (tmp_path / name).write_bytes(b"12345")
    assert file.found(tmp_path) == tmp_path / name
