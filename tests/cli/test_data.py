"""`capsbench data` as a person types it, with a data set of one's own that a server on this machine publishes."""

import hashlib
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from capsbench import registry
from capsbench.data import download
from capsbench.data.own.decoded import FOLDER

CONTENT = bytes(range(10)) * 10
MD5 = hashlib.md5(CONTENT).hexdigest()

OWN = """
import torch
from capsbench.data import Dataset, Images, Splits
from capsbench.data.files import DataFile
from capsbench.errors import Kind, UsageError
from capsbench.data import ImageShape

class Mine(Dataset):
    image = ImageShape(1, 1, 1)
    classes = 10
    files = (DataFile("mine/images", {url!r}, {size}, {md5!r}), DataFile("mine/more", {url!r}))
    licence = "CC BY 4.0 [sic]"
    source = "A. Uthor, 2020"

    def load(self, folder):
        content = (folder / "mine" / "images").read_bytes()
        if content[0]:
            raise UsageError(Kind.DAMAGED, "begins with a one", file="mine/images")
        labels = torch.tensor(list(content))
        part = Images(torch.zeros(len(labels), 1, 1, 1), labels)
        return Splits(part, part, part, {{"clean": part}})

class ByHand(Mine):
    files = (DataFile("mine/by-hand", None), *Mine.files)
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def url(tmp_path, monkeypatch):
    """Where a server on this machine has the file."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    public = tmp_path / "public"
    public.mkdir()
    (public / "images").write_bytes(CONTENT)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=public)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/images"
        server.shutdown()
        thread.join()


@pytest.fixture
def module(tmp_path, url):
    """The module of a data set of one's own, whose files are not here yet; new for each test."""
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN.format(url=url, size=len(CONTENT), md5=MD5))
    return name


@pytest.fixture
def data(capsbench, tmp_path):
    """`capsbench data ...` with a data folder of its own."""
    return lambda *arguments: capsbench("data", *arguments, "--data-dir", "here", cwd=tmp_path)


def test_get_downloads_what_is_missing_once(data, module, tmp_path):
    done = data("get", f"{module}:Mine")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["mine/images: downloaded", "mine/more: downloaded"]
    assert (tmp_path / "here" / "mine" / "images").read_bytes() == CONTENT
    assert data("get", f"{module}:Mine").stdout.splitlines() == [
        "mine/images: there, size and MD5 sum as published",
        "mine/more: there, no size or MD5 sum known",
    ]


def test_get_replaces_what_is_damaged(data, module, tmp_path):
    data("get", f"{module}:Mine")
    (tmp_path / "here" / "mine" / "images").write_bytes(CONTENT[:-1])
    done = data("get", f"{module}:Mine", "--json")
    assert json.loads(done.stdout) == {
        "folder": "here",
        "files": [
            {"file": "mine/images", "state": "downloaded"},
            {"file": "mine/more", "state": "there, no size or MD5 sum known"},
        ],
    }
    assert (tmp_path / "here" / "mine" / "images").read_bytes() == CONTENT


def test_get_downloads_files_of_two_data_sets_once_and_what_has_no_address_last(data, module):
    done = data("get", f"{module}:ByHand", f"{module}:Mine")
    assert done.returncode == 2
    assert done.stdout.splitlines() == ["mine/images: downloaded", "mine/more: downloaded"]
    assert "here/mine/by-hand" in done.stderr.splitlines()[-1]


def test_a_failed_download_is_one_line_and_exit_code_2(data, module, tmp_path):
    (tmp_path / "public" / "images").write_bytes(b"another")
    done = data("get", f"{module}:Mine")
    assert (done.returncode, done.stdout) == (2, "")
    said = [line for line in done.stderr.splitlines() if not line.startswith("downloading ")]
    assert len(said) == 1
    assert "expected 100 bytes, found 7" in said[0]


def test_an_interrupt_keeps_what_came(data, module, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "CHUNK", 10)
    read = download._read_chunk
    monkeypatch.setattr(
        download, "_read_chunk", lambda response, most: read(response, most) if response.length > 50 else interrupted()
    )
    done = data("get", f"{module}:Mine")
    assert done.returncode == 130
    assert "interrupted; the same command continues" in done.stderr
    assert (tmp_path / "here" / "mine" / "images.part").read_bytes() == CONTENT[:50]


def test_verify_says_a_line_a_file_and_reads_them(data, module):
    data("get", f"{module}:Mine")
    done = data("verify", f"{module}:Mine")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "ok    mine/images: there, size and MD5 sum as published",
        "ok    mine/more: there, no size or MD5 sum known",
        f"ok    {module}:Mine: read, 100 train, 100 validation, 100 test, 100 clean",
    ]


def test_verify_is_exit_code_2_where_a_file_is_missing_or_damaged(data, module, tmp_path):
    data("get", f"{module}:Mine")
    (tmp_path / "here" / "mine" / "more").unlink()
    (tmp_path / "here" / "mine" / "images").write_bytes(CONTENT[::-1])
    done = data("verify", f"{module}:Mine", "--json")
    assert done.returncode == 2
    assert done.stderr == "capsbench: data verify: 2 of 2 checks failed in here\n"
    first, second = json.loads(done.stdout)["checks"]
    assert (first["file"], first["ok"]) == ("mine/images", False)
    assert first["state"].startswith(f"damaged: expected the MD5 sum {MD5}, found ")
    assert second == {"dataset": f"{module}:Mine", "file": "mine/more", "ok": False, "state": "missing"}


def test_verify_is_exit_code_2_where_the_reader_refuses(data, module, tmp_path, url):
    content = bytes([1, 0])
    (tmp_path / f"{module}.py").write_text(OWN.format(url=url, size=2, md5=hashlib.md5(content).hexdigest()))
    for name in ("images", "more"):
        (tmp_path / "here" / "mine").mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / "mine" / name).write_bytes(content)
    done = data("verify", f"{module}:Mine")
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1] == f"WRONG {module}:Mine: mine/images: begins with a one"


def test_verify_downloads_nothing(data, tmp_path):
    done = data("verify", "mnist")
    assert done.returncode == 2
    assert done.stdout.count("WRONG") == done.stdout.count("missing") == 4
    assert not (tmp_path / "here").exists()


def test_list_says_what_is_here_where_and_under_which_licence(data, module, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(registry.BUILT_IN["dataset"], "mine", f"{module}:Mine")
    monkeypatch.syspath_prepend(str(tmp_path))

    def mine():
        (row,) = (row for row in json.loads(data("list", "--json").stdout)["datasets"] if row["dataset"] == "mine")
        return row

    assert (mine()["here"], mine()["bytes"]) == ("no", None)
    data("get", "mine")
    assert mine() == {
        "dataset": "mine",
        "here": "yes",
        "bytes": 200,
        "where": ["mine"],
        "files": {"mine/images": "here/mine/images", "mine/more": "here/mine/more"},
        "damaged": {},
        "classes": 10,
        "class_names": [],
        "image": [1, 1, 1],
        "images": {},
        "images_by_class": {},
        "about": ["10 classes, images of 1x1 pixels, grey"],
        "licence": "CC BY 4.0 [sic]",
        "source": "A. Uthor, 2020",
    }
    images = tmp_path / "here" / "mine" / "images"
    images.write_bytes(CONTENT[::-1])
    assert mine()["here"] == "damaged"
    images.write_bytes(CONTENT[:-1])
    assert mine()["damaged"] == {"mine/images": "expected 100 bytes, found 99"}
    images.write_bytes(CONTENT)
    (tmp_path / "here" / "mine" / "more").unlink()
    assert mine()["here"] == "1 of 2"
    shown = data("list").stdout
    assert "CC BY 4.0 [sic]; A. Uthor, 2020" in shown
    assert "where in here, licence, source" in shown


def test_every_data_set_that_needs_files_tells_its_licence_and_source(data):
    rows = json.loads(data("list", "--json").stdout)["datasets"]
    assert {row["dataset"] for row in rows} == {*registry.names("dataset")}
    for row in rows:
        assert (row["here"] == "built in") == (not row["files"])
        assert not row["files"] or (row["licence"] and row["source"])


def test_a_data_set_without_files_needs_none(data):
    assert data("get", "digits").stdout == "digits: needs no files\n"
    assert data("verify", "digits").stdout == "ok    digits: read, 1097 train, 200 validation, 500 test\n"


@pytest.mark.parametrize("command", ["get", "verify"])
def test_an_unknown_data_set_gets_the_nearest_name(data, command):
    done = data(command, "mnits")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert all(fact in done.stderr for fact in ("NAME", "'mnits'", "'mnist'", "digits"))


def test_what_is_no_data_set_is_refused(data):
    done = data("get", "collections:OrderedDict")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert all(fact in done.stderr for fact in ("NAME", "'collections:OrderedDict'", "capsbench.data.base.Dataset"))


def test_a_misspelt_kind_of_a_path_that_exists_is_named(data, tmp_path):
    done = data("list", f"foldr:{tmp_path}")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"folder:{tmp_path}" in done.stderr


def test_clean_lists_decoded_images_and_deletes_them_with_yes(data, tmp_path):
    file = tmp_path / "here" / FOLDER / f"{'0' * 32}.npy"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    facts = {"folder": "here", "files": {str(file.relative_to(tmp_path)): len(CONTENT)}}
    assert json.loads(data("clean", "--json").stdout) == {**facts, "deleted": False}
    assert data("clean").returncode == 0
    assert file.exists()
    assert json.loads(data("clean", "--yes", "--json").stdout) == {**facts, "deleted": True}
    assert not file.exists()
    assert data("clean", "--yes").returncode == 0
