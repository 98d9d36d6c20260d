"""What the tests of several rooms share: cells, the command line, and records whose numbers a test chooses."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from capsbench import registry
from capsbench.cli.main import main
from capsbench.cli.shell.interrupt import SIGNALS
from capsbench.networks.build import build_network
from capsbench.planning.matrix import cells_of
from capsbench.records.cell import Cell
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from capsbench.running.executors import machine
from capsbench.running.executors.base import Job
from capsbench.running.executors.processes import to_sendable
from capsbench.sources import locations
from tests.making import CAPSULES, make_capsules, make_failed, make_record

CNN: dict[str, Any] = {
    **CAPSULES,
    "network": "matched",
    "routing": None,
    "iterations": None,
    "loss": "cross-entropy",
}

PROVENANCE: dict[str, Any] = {
    "commit": "0123456789abcdef",
    "dirty": False,
    "capsbench": "0.1.0",
    "python": "3.11.2",
    "torch": "2.15.0",
    "triton": None,
    "cuda": None,
    "driver": None,
    "cpu": "A CPU",
    "gpu": None,
    "cores": 2,
    "backend": "reference",
    "threads": 2,
    "started": "2026-01-01T00:00:00+00:00",
    "seconds": 12.0,
}


def rows(accuracy: float | None, parameters: float | None, flops: float = 2.5e6, step: float = 12.0) -> list[Row]:
    """The rows of the measures accuracy and speed; a number that is None was not measured."""
    made = []
    if accuracy is not None:
        made += [
            Row("accuracy", "accuracy", "test", accuracy, "fraction"),
            Row("accuracy", "error", "test", 1 - accuracy, "fraction"),
            Row("accuracy", "nll", "test", 0.1, "nats"),
            Row("accuracy", "accuracy", "validation", 0.5, "fraction"),
            Row("accuracy", "accuracy", "class 3", 0.25, "fraction"),
        ]
    if parameters is not None:
        made += [
            Row("training", "parameters", "network", parameters, "parameters"),
            Row("cost", "parameters", "inference", parameters - 1, "parameters"),
            Row("cost", "flops", "inference", flops, "FLOP/image"),
            Row("speed", "latency p50", "training step", step, "ms"),
            Row("speed", "latency p95", "training step", 2 * step, "ms"),
            Row("speed", "latency p50", "inference", step / 3, "ms"),
            Row("speed", "peak memory", "training step", 40.0, "MiB"),
            Row("speed", "peak memory", "inference", 10.0, "MiB"),
        ]
    return made


def capsules(accuracy: float | None = 0.97, parameters: float | None = 28_000, **fields: Any) -> Record:
    """A finished cell of a capsule network; ``fields`` are those of the Cell, ``flops`` and ``step`` its costs."""
    costs = {name: fields.pop(name) for name in ("flops", "step") if name in fields}
    return make_record(
        make_capsules(**fields),
        rows(accuracy, parameters, **costs),
        history=[
            {"epoch": 1, "loss": 0.9, "validation_accuracy": 0.6, "learning_rate": 0.001, "seconds": 1.0},
            {"epoch": 2, "loss": 0.3, "validation_accuracy": 0.9, "learning_rate": 0.003, "seconds": 1.0},
        ],
        provenance=PROVENANCE,
        backends=["reference"],
    )


def matched(accuracy: float | None = 0.96, to: int = 28_000, **fields: Any) -> Record:
    """A finished cell of the CNN matched to a network of ``to`` parameters, which it misses by a few."""
    options = {"network.parameters": to}
    return capsules(accuracy, fields.pop("parameters", to + 12), **{**CNN, "options": options, **fields})


def failed(reason: str = "the loss became nan", **fields: Any) -> Record:
    """A failed cell of a capsule network."""
    return make_failed(make_capsules(**fields), reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests last whose compiled graphs start threads of autograd, since a fork of their process cannot train."""
    items.sort(key=lambda item: item.path.name in ("test_compiled.py", "test_exported.py", "test_loop.py"))


@pytest.fixture(name="capsules", scope="session")
def _capsules() -> Callable[..., Record]:
    return capsules


@pytest.fixture(name="matched", scope="session")
def _matched() -> Callable[..., Record]:
    return matched


@pytest.fixture(name="failed", scope="session")
def _failed() -> Callable[..., Record]:
    return failed


def pytest_configure(config: pytest.Config) -> None:
    """Gives each of several test processes one thread: they and what they start inherit the environment.

    A shell lets what it starts in the background ignore Ctrl-C, and tests of it would then wait forever.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if getattr(config.option, "numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    gc.disable()  # all that is imported and collected stays


def pytest_collection_finish() -> None:
    """Spares the garbage collector what was imported and collected, a million objects that no test frees, and lets it rest."""
    gc.freeze()
    gc.set_threshold(10 * gc.get_threshold()[0])
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # else Triton complains at the exit about what is not freed


@pytest.fixture(autouse=True)
def trust_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets what code and which images an earlier test named."""
    monkeypatch.setattr(registry, "_trusted", set())
    monkeypatch.setattr(locations, "_locations", {})


@pytest.fixture(autouse=True)
def keep_interrupts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Takes the signals back from the commands that a test calls in its process.

    A command ignores them at its end, and so would all processes that later tests start.
    """
    answers = {number: signal.getsignal(number) for number in SIGNALS}
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    yield
    for number, answer in answers.items():
        signal.signal(number, answer)


@pytest.fixture(autouse=True, scope="session")
def skip_fsync() -> Iterator[None]:
    """Waits for no disk: no test cuts the power, and there are disks on which the suite's 20,000 waits take an hour."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def make_cell() -> Callable[..., Cell]:
    """Makes one complete cell: dynamic routing in a tiny CapsNet on the CPU, unless the request says otherwise.

    A network that is named has its own routing.
    """

    def make(**request: Any) -> Cell:
        routing = {} if "network" in request else {"routing": "dynamic"}
        (cell,) = cells_of({**routing, "seeds": 0, "device": "cpu", "baseline": "none", **request})
        return cell

    return make


@pytest.fixture
def scattered(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a data set whose images show any number of classes."""
    monkeypatch.setitem(registry.BUILT_IN["dataset"], "scattered", "tests.scattered:Scattered")
    return "scattered"


@pytest.fixture
def capsbench(monkeypatch, capsys):
    """Calls the console script in a folder and gives its exit code and what it printed."""

    def call(*arguments, cwd):
        monkeypatch.chdir(cwd)
        monkeypatch.setattr("sys.argv", ["capsbench", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capsys.readouterr()
        return SimpleNamespace(returncode=exit_.value.code or 0, stdout=printed.out, stderr=printed.err)

    return call


@pytest.fixture(autouse=True)
def own_machine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets tests that run at the same time measure times without waiting for each other."""
    monkeypatch.setattr(machine, "lock_folder", lambda: tmp_path_factory.getbasetemp() / "locks")


def run_here(
    jobs: Iterable[Job | None],
    workers: int = 1,
    on_event: Callable[[str, Any], None] = lambda name, event: None,
    seconds_left: Callable[[], float | None] = lambda: None,
    fork: bool = False,
) -> Iterator[tuple[str, Any]]:
    """Runs jobs as `in_processes` does, but one after the other and in the calling process."""
    for job in jobs:
        if (left := seconds_left()) is not None and left <= 0:
            return
        if job is None:
            continue
        try:
            result = job.function(*job.arguments, partial(on_event, job.name))
        except Exception as error:
            result = to_sendable(error)
        yield job.name, result


@contextmanager
def cells_in_one_process() -> Iterator[None]:
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with pytest.MonkeyPatch.context() as patch:
        for module in ("executors.local", "estimate", "load_data"):
            patch.setattr(f"capsbench.running.{module}.in_processes", run_here)
        yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(scope="session")
def one_process() -> Callable[[], AbstractContextManager[None]]:
    """A context in which cells run in the process of the test, for fixtures of a wider scope than `in_one_process`.

    A process takes longer to start than such a cell to train, and proves nothing where records, tables or pages are tested.
    """
    return cells_in_one_process


@pytest.fixture
def in_one_process(one_process: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Runs the cells of a test in its process, see `one_process`."""
    with one_process():
        yield


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a report draw no picture, which takes most of its time, for tests of what else is in it."""
    monkeypatch.setattr("capsbench.reporting.build.drawing", lambda pictures, material, forms: nullcontext(dict))


@pytest.fixture
def put(make_cell: Callable[..., Cell], tmp_path: Path) -> Callable[..., Cell]:
    """Puts an untrained network on record in ``results`` and returns its cell."""

    def on_record(weights: bool = True, status: str = "finished", **request: Any) -> Cell:
        cell = make_cell(**request)
        store = Store(tmp_path / "results")
        torch.manual_seed(cell.seed)
        if weights:
            network = build_network(cell)
            store.write_tensors(store.weights_path(cell.id), network.state_dict())
        store.write(make_record(cell) if status == "finished" else make_failed(cell))
        return cell

    return on_record


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, one_process: Callable[[], AbstractContextManager[None]]) -> Path:
    """A folder with a results folder: a capsule network with a decoder and its CNN, trained on the digits for an epoch.

    Tests may add files to the results, such as a report, but change none.
    """
    import capsbench

    folder = tmp_path_factory.mktemp("trained")
    with one_process():
        capsbench.run(
            routing="dynamic", dataset="digits", epochs=1, seeds=0, measure="accuracy", out=folder / "results"
        )
    return folder
