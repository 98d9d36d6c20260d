"""Records with bytes or parts changed, sealed again or not: commands go on, and nothing acts, on a terminal or a page."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsbench.records.cell import Cell
from capsbench.records.file import to_bytes
from capsbench.records.store import Store
from tests.faults.calling import LENGTHS, call, searched
from tests.faults.hostile import TEXTS, Probe, acts, beyond
from tests.faults.test_odd_records import ODD, places, put, record, resealed

EXAMPLES, IN_A_FOLDER = 10, 10
"""Folders, and mutated records in each."""

REFERENCE = Path(__file__).parent.parent.parent / "results" / "reference" / "ci" / "records"
SCHEMA_1 = Path(__file__).parent.parent / "records" / "schema1" / "records"
FILES = [*(path for folder in (REFERENCE, SCHEMA_1) for path in sorted(folder.glob("*.json"))[:6])]
GENUINE = [*(to_bytes(record(seed)) for seed in range(3)), *(path.read_bytes() for path in FILES)]
"""Records as they are written here, by a run of all routings, and by capsbench 0.1.0."""

PLACES = [[*places(json.loads(content))] for content in GENUINE]

SMALL = [odd for odd in ODD if len(repr(odd)) < 2000]

COMMANDS = [
    ["report", "--out", "odd", "--by", "iters", "--format", "html,md,tex,csv,parquet"],
    ["report", "--out", "odd", "--where", "routing=em", "--format", "html"],
    ["compare", "odd", "good", "--all"],
    ["compare", "good", "odd", "--format", "md"],
    ["check", "--against", "good", "--out", "odd", "--summary", "summary.md", "--junit", "junit.xml"],
    ["check", "--against", "odd", "--out", "good"],
    ["check", "--update", "--against", "new", "--out", "odd"],
    ["show", "x3, seed 1", "--out", "odd"],
    ["show", "--out", "odd"],
    ["measure", "--measure", "accuracy", "--out", "odd"],
    ["run", "--routing", "em", "--dry-run", "--out", "odd"],
    ["list"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with results `good`, in which commands are called; no network is trained, and no picture drawn."""
    folder = tmp_path_factory.mktemp("mutated")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("capsbench.reporting.build.drawing", lambda *arguments: contextlib.nullcontext(dict))
        for room in ("running.executors.local", "running.estimate"):
            patch.setattr(f"capsbench.{room}.in_processes", lambda jobs, *arguments, **named: iter(()))
        for seed in range(3):
            Store(folder / "good").write(record(seed))
        yield folder


@pytest.fixture(scope="module")
def probe(folder: Path) -> Iterator[Probe]:
    with pytest.MonkeyPatch.context() as patch:
        yield Probe(folder, patch)


ANYTHING = st.one_of(st.sampled_from(TEXTS), st.sampled_from(SMALL), st.text(max_size=8), st.floats(), st.integers())

WHOLE = st.sampled_from([0, 1, 2, 3, 10, 1000, 2**31 - 1, 2**31, 2**62, -1]) | st.integers(-(2**63), 2**63 - 1)

OF_TYPE: dict[type, st.SearchStrategy[Any]] = {
    str: st.sampled_from(TEXTS) | st.text(max_size=12),
    int: WHOLE,
    float: st.floats(allow_nan=False, allow_infinity=False) | WHOLE,
    bool: st.booleans(),
    type(None): st.sampled_from([*TEXTS, 0, 1, 1.5, {}, [], False]),
}
"""What a value may be changed to and the record still be one."""


@st.composite
def changed_bytes(draw: st.DrawFn, which: int) -> bytes:
    """A record of which some bytes are others, come, go or stand twice."""
    content = bytearray(GENUINE[which])
    for _ in range(draw(st.integers(1, 4))):
        at = int(draw(st.floats(0, 1, exclude_max=True)) * len(content))
        length = draw(st.integers(1, 40))
        kind = draw(st.sampled_from(["other", "gone", "twice", "cut", "come"]))
        if kind == "other":
            content[at] = draw(st.integers(0, 255))
        elif kind == "gone":
            del content[at : at + length]
        elif kind == "twice":
            content[at:at] = content[at : at + length]
        elif kind == "come":
            content[at:at] = draw(st.binary(max_size=8))
        elif at > len(content) // 2:
            del content[at:]
        content = content or bytearray(b"{")
    first, _, body = bytes(content).partition(b"\n")
    return sealed(body) if draw(st.booleans()) else first + b"\n" + body


def sealed(body: bytes) -> bytes:
    return b'{"digest": "' + sha256(body).hexdigest().encode() + b'",\n' + body


@st.composite
def changed_parts(draw: st.DrawFn, which: int) -> bytes:
    """A record in which some values or names are others, gone or moved, as whoever made it on purpose would write it."""
    content = json.loads(GENUINE[which])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.sampled_from(PLACES[which]))
        *inside, name = at
        try:
            part = content
            for key in inside:
                part = part[key]
            kind = draw(st.sampled_from(["other"] * 4 + ["gone", "renamed", "moved"]))
            if kind == "other":
                alike = OF_TYPE.get(type(part[name]), ANYTHING) if draw(st.integers(0, 4)) else ANYTHING
                put(content, at, draw(alike))
            elif kind == "gone":
                del part[name]
            elif kind == "renamed" and isinstance(part, dict):
                part[draw(st.sampled_from(TEXTS))] = part.pop(name)
            elif kind == "moved":
                put(content, draw(st.sampled_from(PLACES[which])), json.loads(json.dumps(part[name])))
        except (KeyError, IndexError, TypeError):  # an earlier change took its place
            continue
    if content.get("schema") != 2:
        return json.dumps(content).encode()
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):  # it is no cell any more
        content["id"] = Cell.model_validate(content["cell"]).id
    content.pop("digest", None)
    return resealed(content)


@st.composite
def several(draw: st.DrawFn, changed: Callable[[int], st.SearchStrategy[bytes]]) -> list[bytes]:
    """As many changed records as are in a folder, of different cells."""
    first = draw(st.integers(0, len(GENUINE) - 1))
    return [draw(changed((first + place) % len(GENUINE))) for place in range(IN_A_FOLDER)]


def name_of(content: bytes, place: int) -> str:
    try:
        found = json.loads(content)["id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        found = None
    return found if isinstance(found, str) and found.isalnum() and len(found) < 100 else f"{place:012x}"


def write(folder: Path, contents: list[bytes]) -> None:
    for name in ("odd", "new"):
        shutil.rmtree(folder / name, ignore_errors=True)
    records = folder / "odd" / "records"
    records.mkdir(parents=True)
    for place, content in enumerate([*GENUINE[:3], *contents]):
        (records / f"{name_of(content, place)}.json").write_bytes(content)


@pytest.mark.parametrize("changed", [changed_bytes, changed_parts], ids=lambda changed: changed.__name__)
@LENGTHS
def test_whatever_is_in_records_is_read_or_named(
    folder: Path, probe: Probe, changed: Callable[[int], st.SearchStrategy[bytes]], length: float
) -> None:
    @searched(length * EXAMPLES / 2)
    @given(contents=several(changed), words=st.sampled_from(COMMANDS))
    def search(contents: list[bytes], words: list[str]) -> None:
        write(folder, contents)
        called = call(*words)
        assert "Traceback" not in called.err
        assert called.code in (0, 1, 2, 3, 4)
        assert acts(called.out + called.err) == []
        assert probe.left() == set()
        page = folder / "odd" / "report" / "index.html"
        assert not page.exists() or beyond(page.read_text()) == []

    search()
