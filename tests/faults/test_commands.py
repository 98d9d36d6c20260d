"""Whatever stops a command that writes: no finished cell is lost, and the same command then leaves what it would have left."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.records.swap import MADE
from tests.faults.calling import LENGTHS, Called, call, searched
from tests.faults.injector import OPERATIONS, SPACE, Killed, faults, jumping_clock
from tests.records.old import write_old

EXAMPLES = 12

RUN = [
    *("run", "--routing", "uniform", "--baseline", "none", "--size", "tiny", "--train-size", "20", "--epochs", "1"),
    *("--threads", "1", "--out", "results"),
]
COMMANDS = {
    "run": [*RUN, "--seeds", "0,1,2,3", "--measure", "accuracy"],
    "run anew": [*RUN, "--seeds", "0,1", "--measure", "accuracy", "--fresh"],
    "measure": ["measure", "--measure", "cost", "--out", "results"],
    "measure what is joined": ["measure", "--measure", "cost", "--out", "older"],
    "merge": ["merge", "results", "older", "--out", "merged"],
    "merge into": ["merge", "results", "--out", "older"],
    "update": ["check", "--update", "--against", "reference", "--out", "results"],
    "report": ["report", "--out", "results", "--format", "csv,md,tex"],
}

FAULTS: dict[str, dict[str, Any]] = {
    "killed": {},
    "input/output error": {"error": errno.EIO},
    "full disk": {"error": errno.ENOSPC, "of": SPACE, "lasting": True},
}

LITTER = re.compile(r"(.*/)?\.(?!lock$)[^/]*")
"""What has a name that begins with a dot and is no lock."""


class Case:
    """A folder with results of three seeds, one of which no report has, an older folder, and a reference.

    Attributes:
        counts: command and kind of fault -> how many operations there are to break.
        made: command -> what it leaves.
    """

    def __init__(self, folder: Path) -> None:
        self.kept, self.work = folder / "kept", folder / "work"
        self.kept.mkdir()
        self.finished: dict[Path, Record] = {}
        self.underway: Record | None = None
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.kept)
            assert call(*RUN, "--seeds", "0,1,2", "--measure", "accuracy").code == 0
            assert call("report", "--out", "results", "--format", "csv,md").code == 0
            store = Store("results")
            for record in store.records()[0]:
                write_old(record, Path("older"), ["accuracy"], store)
                Store("reference").write(with_accuracy(record, 0.5))
        self.counts: dict[tuple[str, str], int] = {}
        self.made: dict[str, Any] = {}
        for command in COMMANDS:
            self.renew()
            with faults(self.work) as operations:
                assert self.call(command).code == 0
            for kind, fault in FAULTS.items():
                of = fault.get("of", OPERATIONS)
                self.counts[command, kind] = sum(line.partition(" ")[0] in of for line in operations)
            self.made[command] = self.facts()

    def renew(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.kept, self.work)
        self.underway = None
        self.finished = {
            self.work / name / record.cell.id: record
            for name in ("results", "older")
            for record in Store(self.work / name).records()[0]
        }

    def call(self, command: str) -> Called:
        write = Store.write

        def noting(store: Store, record: Record) -> None:
            self.underway = record
            write(store, record)
            self.underway = None
            if store.folder.name != MADE:
                self.finished[store.folder.absolute() / record.cell.id] = record

        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.work)
            patch.setattr(Store, "write", noting)
            return call(*COMMANDS[command])

    def facts(self) -> Any:
        """What is in the folder, without times.

        Notes of runs do not count, since one that was stopped was a run too.
        """
        files = {str(path.relative_to(self.work)) for path in self.paths() if path.parent.name != "runs"}
        stores = {name: Store(self.work / name) for name in ("results", "older", "reference", "merged")}
        return files, {
            (name, record.cell.id): (
                record.status,
                {spec: taken.rows for spec, taken in record.measures.items()},
                weights_of(store, record),
            )
            for name, store in stores.items()
            for record in store.records()[0]
        }

    def paths(self) -> Iterator[Path]:
        return (path for path in self.work.rglob("*") if path.is_file())

    def check_nothing_lost(self) -> None:
        for path, record in self.finished.items():
            store = Store(path.parent)
            found = store.read(path.name)
            assert alike(found, record) or (self.underway is not None and alike(found, self.underway)), path
            weights_of(store, found)
            self.finished[path] = found
        reference = Store(self.work / "reference")
        if reference.folder.exists() and not (reference.folder / ".update").exists():
            assert len(reference.records()[0]) == 3


def with_accuracy(record: Record, value: float) -> Record:
    taken = record.measures["accuracy"]
    rows = [row._replace(value=value) if row.metric == "accuracy" else row for row in taken.rows]
    return replace(record, measures={"accuracy": replace(taken, rows=rows, kept=None)})


def alike(one: Record, other: Record) -> bool:
    """Whether two records are of one training, and have the same numbers."""
    return (one.cell, one.training, {**one.measures}) == (other.cell, other.training, {**other.measures})


def weights_of(store: Store, record: Record) -> dict[str, bytes]:
    """The weights of a record, if it has any; raises UsageError where they are not those that it was made with."""
    if not store.has_weights(record):
        return {}
    return {name: tensor.numpy().tobytes() for name, tensor in store.read_weights(record).items()}


@pytest.fixture(scope="module")
def case(
    tmp_path_factory: pytest.TempPathFactory, one_process: Callable[[], AbstractContextManager[None]]
) -> Iterator[Case]:
    with one_process():
        yield Case(tmp_path_factory.mktemp("commands"))


@LENGTHS
def test_a_fault_loses_nothing_and_the_next_command_leaves_no_litter(case: Case, length: float) -> None:
    @searched(length * EXAMPLES)
    @given(key=st.sampled_from([*case.counts]), share=st.floats(0, 1, exclude_max=True))
    def search(key: tuple[str, str], share: float) -> None:
        (command, kind), at = key, int(share * case.counts[key])
        case.renew()
        with faults(case.work, at=at, **FAULTS[kind]) as operations:
            try:
                called = case.call(command)
            except Killed:
                pass
            else:
                assert called.code in (0, 2, 3)
                assert "Traceback" not in called.err
        assert len(operations) > at
        case.check_nothing_lost()
        again = case.call(command)
        assert again.code == 0, again.err
        assert [path for path in case.paths() if LITTER.fullmatch(str(path.relative_to(case.work)))] == []
        case.check_nothing_lost()
        assert case.facts() == case.made[command]

    search()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_disk_has_what_is_renamed_before_and_its_name_after(case: Case, command: str) -> None:
    case.renew()
    with faults(case.work) as operations:
        case.call(command)
    named = [line.split(" ", 1) for line in operations]
    renamed = [(at, Path(path)) for at, (name, path) in enumerate(named) if name in ("rename", "replace")]
    assert renamed
    for at, path in renamed:
        assert ["fsync", str(path.parent)] in named[at:]
        if path.name.startswith(".") and path.parent.name != MADE:
            assert ["fsync", str(path)] in named[:at]
    made = {folder: at for at, (name, folder) in reversed([*enumerate(named)]) if name == "mkdir"}  # the first time
    for folder, at in made.items():
        if not (case.kept / folder).exists():
            assert ["fsync", str(Path(folder).parent)] in named[at:]


DAYS = st.lists(st.floats(-20_000, 20_000), min_size=1, max_size=4)


@LENGTHS
def test_no_clock_says_which_run_is_the_latest_and_what_is_anew(case: Case, length: float) -> None:
    @searched(length * 3)
    @given(days=DAYS)
    def search(days: list[float]) -> None:
        case.renew()
        store = Store(case.work / "results")
        before = store.records()[0]
        with pytest.MonkeyPatch.context() as patch, jumping_clock([24 * 3600 * each for each in days]):
            patch.chdir(case.work)
            for seeds in ("0", "1,2", "3"):
                called = call(*RUN, "--seeds", seeds, "--measure", "accuracy")
                assert (called.code, called.err.count("Traceback")) == (0, 0)
            assert call(*RUN, "--seeds", "0,1", "--measure", "accuracy", "--fresh").code == 0
            runs = store.runs()
            assert [run.sequence for run in runs] == [1, 2, 3, 4, 5]
            assert [len(run.cells) for run in runs] == [3, 1, 2, 1, 2]
            records = {record.cell.id: record for record in store.records()[0]}
            assert all(records[cell].training.run == 5 for cell in runs[-1].cells)
            assert all(record.training.seconds >= 0 for record in records.values())
            kept = [record for record in before if record.cell.id not in runs[-1].cells]
            assert all(alike(records[record.cell.id], record) for record in kept)
            assert call("report", "--out", "results", "--format", "csv,md").code == 0
            assert call("check", "--against", "results", "--out", "results").code == 0

    search()
