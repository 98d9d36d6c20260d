"""Files of a folder that are whole by their digests and odd inside: a line each, and the commands go on with the rest."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsbench.measures.spec import Contest, Judged, MeasureSpec, Metric
from capsbench.records.file import to_bytes
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from capsbench.records.tuning import Tuning
from capsbench.records.tuning.trials import open_trials
from tests.faults.calling import LENGTHS, call, searched
from tests.making import make_capsules, make_record

EXAMPLES = 10


def nested(depth: int, *, lists: bool) -> Any:
    inner: Any = 0
    for _ in range(depth):
        inner = [inner] if lists else {"a": inner}
    return inner


ODD = [
    *(None, True, -1, 0, 1.5, 2**31, 2**63, 10**30, 10**400, 1e308, float("nan"), float("inf")),
    *("", "x", "a" * 300, "x" * 2_000_000, "\ud800", "\0", "..", "a:b", "=1", "2026-13-45T99:99:99"),
    *([], {}, [1], {"a": None}, {str(number): number for number in range(3000)}),
    *(nested(depth, lists=lists) for depth in (50, 190, 500) for lists in (True, False)),
]

COMMANDS = [
    ["report", "--out", "odd", "--by", "iters", "--format", "html,md,tex,csv,parquet"],
    ["report", "--out", "odd", "--last", "--format", "csv"],
    ["compare", "odd", "good", "--all"],
    ["check", "--against", "good", "--out", "odd"],
    ["check", "--against", "odd", "--out", "good"],
    ["show", "x3, seed 1", "--out", "odd"],
    ["measure", "--measure", "accuracy", "--out", "odd"],
    ["merge", "odd", "good", "--out", "merged"],
    ["status", "--out", "odd"],
    ["prune", "--out", "odd", "--weights"],
]


DECLARATION = MeasureSpec(
    "mine",
    title="My measure",
    caption="It is mine.",
    metrics=(
        Metric(
            "share",
            "fraction",
            higher_is_better=True,
            columns=("all",),
            contests=(Contest("my share", ("all",), at_headline_bound=False),),
            judged=(Judged("my share", ("all",), floor=0.0), Judged("my check", rule="check")),
        ),
        Metric(
            "time",
            "ms",
            higher_is_better=False,
            columns=("all",),
            contests=(Contest("my time"),),
            judged=(Judged("my time", rule="time"), Judged("my exact time", relative=True)),
            repeatable=False,
        ),
    ),
)
"""Of a user's own measure: what a stranger may write into a record is read by reports and gates."""


def record(seed: int, iterations: int = 3) -> Record:
    rows = [
        Row("training", "parameters", "network", 1000.0, "parameters"),
        Row("accuracy", "accuracy", "test", 0.9 + seed / 100, "fraction"),
        Row("affine", "area under the curve", "rotation", 0.5, "fraction", 15.0),
    ]
    made = make_record(
        make_capsules(seed=seed, iterations=iterations),
        [
            *rows,
            Row("mine", "share", "all", 0.4 + seed / 100, "fraction"),
            Row("mine", "time", "all", 1.5 + seed, "ms"),
        ],
        history=[{"epoch": 1, "loss": 0.9, "validation_accuracy": 0.6, "seconds": 1.0}],
        provenance={"commit": "0123", "cpu": "A CPU", "cores": 2, "gpu": None},
        failures={"speed": "it took too long"},
        request={"routing": "em", "iters": iterations},
        tuning=Tuning(
            make_capsules(iterations=iterations).contender,
            seed=0,
            studies=3,
            trials=2,
            study=seed,
            trial=1,
            space={"learning_rate": "0.001..0.1", "routing.epsilon": "0.1,0.2"},
            start={"learning_rate": 0.02, "routing.epsilon": 0.2},
            edges=["learning_rate"],
            validation=0.6,
        ),
    )
    mine = replace(made.measures["mine"], declaration=DECLARATION)
    return replace(made, measures={**made.measures, "mine": mine})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with results `good` and `odd`, in which commands are called."""
    folder = tmp_path_factory.mktemp("odd")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("capsbench.reporting.build.drawing", lambda *arguments: contextlib.nullcontext(dict))
        patch.setattr("capsbench.running.executors.local.in_processes", lambda jobs, *arguments, **named: iter(()))
        for name in ("good", "odd"):
            write(Store(folder / name))
        yield folder


def write(store: Store) -> None:
    for path in [*store.folder.glob("records/*"), *store.folder.glob("runs/*")]:
        path.unlink()
    for iterations in (1, 3):
        for seed in range(3):
            store.write(record(seed, iterations))
    store.write_run([record(seed).cell for seed in range(3)], "capsbench run")
    trial = record(0)
    open_trials(store.folder).write(replace(trial, measures={}, failures={}, role="trial"))


def places(content: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in JSON something stands; of a list, its first two entries."""
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in [*inside] if isinstance(content, dict) else [*inside][:2]:
        yield (*at, key)
        yield from places(value, (*at, key))


def put(content: Any, at: tuple[Any, ...], value: Any) -> None:
    for key in at[:-1]:
        content = content[key]
    content[at[-1]] = value


def resealed(content: dict[str, Any]) -> bytes:
    """As `capsbench.records.file.seal` does, but for anything that JSON can be made to say."""
    body = json.dumps(content, indent=1).encode().removeprefix(b"{\n") + b"\n"
    return b'{"digest": "' + sha256(body).hexdigest().encode() + b'",\n' + body


WHOLE = json.loads(to_bytes(record(0)))
PLACES = [place for place in places(WHOLE) if place[0] != "digest"]


@LENGTHS
def test_no_odd_record_ends_a_command(folder: Path, length: float) -> None:
    odd_places = st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(ODD)), min_size=1, max_size=2)
    store = Store(folder / "odd")

    @searched(length * EXAMPLES)
    @given(odd=odd_places, words=st.sampled_from(COMMANDS))
    def search(odd: list[tuple[tuple[Any, ...], Any]], words: list[str]) -> None:
        write(store)
        content = json.loads(to_bytes(record(0)))
        content.pop("digest")
        for place, value in odd:
            with contextlib.suppress(KeyError, IndexError, TypeError):  # the first of them took the place of the second
                put(content, place, value)
        store.record_path(record(0).cell.id).write_bytes(resealed(content))
        code, out, err = call(*words)
        assert "Traceback" not in err
        assert code in (0, 1, 2, 3, 4)
        assert max(map(len, (out + err).splitlines()), default=0) < 200_000

    search()


PROVENANCE = ("provenances", 0, "cpu")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (PROVENANCE, float("nan")),
        (PROVENANCE, {"a": "b"}),
        (PROVENANCE, nested(190, lists=False)),
        (PROVENANCE, "x" * 2_000_000),
        (("cell", "options", "routing.epsilon"), 2**63),
        (("cell", "train_size"), 2**63),
        (("cell", "options", "seed"), 1),
        (("training", "run"), 2**64),
        (("training", "machine"), -1),
        (("measures", "accuracy", "version"), 2**64),
        (("measures", "accuracy", "kept", "path"), "kept/\0"),
        (("measures", "accuracy", "kept", "path"), "kept/" + "a" * 300),
        (("request", "routing"), float("nan")),
        (("failures", "speed", "reason"), "x" * 2_000_000),
        (("measures", "mine", "declaration"), {}),
        (("measures", "mine", "declaration", "name"), ""),
        (("measures", "mine", "declaration", "caption"), "x" * 3_000),
        (("measures", "mine", "declaration", "by_default"), "yes"),
        (("measures", "mine", "declaration", "metrics"), [{"name": str(n), "unit": "u"} for n in range(101)]),
        (("measures", "mine", "declaration", "metrics", 1, "name"), "share"),
        (("measures", "mine", "declaration", "metrics", 0, "higher_is_better"), None),
        (("measures", "mine", "declaration", "metrics", 0, "contests", 0, "title"), "x" * 300),
        (("measures", "mine", "declaration", "metrics", 0, "judged", 0, "rule"), "always"),
        (("measures", "mine", "declaration", "metrics", 1, "judged", 1, "relative"), False),
    ],
    ids=lambda odd: str(odd)[:40],
)
def test_what_no_run_writes_is_not_a_whole_record(folder: Path, place: tuple[Any, ...], value: Any) -> None:
    store = Store(folder / "odd")
    write(store)
    content = json.loads(to_bytes(record(0)))
    content.pop("digest")
    put(content, place, value)
    path = store.record_path(record(0).cell.id)
    path.write_bytes(resealed(content))
    records, (fault,) = store.records()
    assert len(records) == 5
    assert fault.startswith(f"{path}: ")
    assert len(fault) < 1000


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("value", [1.7, -1e308, 1e308, 1e31])
def test_a_share_that_is_none_is_a_line(folder: Path, value: float, words: list[str]) -> None:
    store = Store(folder / "odd")
    write(store)
    content = json.loads(to_bytes(record(0)))
    content.pop("digest")
    put(content, ("measures", "accuracy", "rows", 0, "value"), value)
    store.record_path(record(0).cell.id).write_bytes(resealed(content))
    code, out, err = call(*words)
    assert "Traceback" not in out + err
    assert code in (0, 1, 2, 3, 4)
    records, (fault,) = store.records()
    assert len(records) == 5
    assert "not a whole record" in fault


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_the_largest_numbers_end_no_command(folder: Path, words: list[str]) -> None:
    store = Store(folder / "odd")
    write(store)
    for iterations in (1, 3):
        for seed in range(3):
            content = json.loads(to_bytes(record(seed, iterations)))
            content.pop("digest")
            row = {"measure": "equivariance", "metric": "R^2", "condition": "all", "value": -1e30, "unit": "fraction"}
            odd = {"measure": "accuracy", "metric": "negative log-likelihood", "condition": "test", "value": 1e30}
            put(
                content,
                ("measures", "accuracy", "rows"),
                [*content["measures"]["accuracy"]["rows"], odd | {"unit": "nats"}],
            )
            put(content, ("measures", "equivariance"), content["measures"]["affine"] | {"rows": [row]})
            store.record_path(record(seed, iterations).cell.id).write_bytes(resealed(content))
    assert store.records()[1] == []
    code, out, err = call(*words)
    assert "Traceback" not in out + err
    assert code in (0, 1, 2, 3, 4)


RUN = {
    "schema": 2, "name": "000001", "started": "2026-01-01T00:00:00+00:00", "command": "capsbench run", "cells": [],
    "suite": "ci", "left_out": {"mnist": "no such file"}, "sequence": 1, "folders": ["/nosuch"],
}  # fmt: skip


@LENGTHS
def test_no_odd_note_of_a_run_ends_a_command(folder: Path, length: float) -> None:
    store = Store(folder / "odd")

    @searched(length * EXAMPLES)
    @given(place=st.sampled_from([*places(RUN)]), value=st.sampled_from(ODD), words=st.sampled_from(COMMANDS))
    def search(place: tuple[Any, ...], value: Any, words: list[str]) -> None:
        write(store)
        content = json.loads(json.dumps(RUN))
        put(content, place, value)
        (store.folder / "runs" / "000001-00000000.json").write_bytes(resealed(content))
        code, _, err = call(*words)
        assert "Traceback" not in err
        assert code in (0, 1, 2, 3, 4)

    search()


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.parametrize("where", ["records", "runs", "SHA256SUMS", "shown"])
def test_what_is_no_file_is_not_waited_for(folder: Path, make: Callable[[Path], None], where: str) -> None:
    store = Store(folder / "odd")
    write(store)
    path = store.folder / where / ("shown.json" if where == "shown" else "0123456789ab.json")
    if where == "SHA256SUMS":
        path = store.folder / where
    elif where == "shown":
        path = store.folder / where / record(0).cell.id / "shown.json"
        path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    try:
        code, out, _ = call("report", "--out", "odd", "--format", "csv")
    finally:
        path.rmdir() if path.is_dir() else path.unlink()
    assert code == 0
    assert "matrix-capsules" in out
