import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from capsbench.cell import Cell
from capsbench.cli import main
from capsbench.matrix import cells_of
from capsbench.process import Job, to_be_told


def pytest_configure(config: pytest.Config) -> None:
    """Gives each of several test processes one thread: they and what they start inherit the environment."""
    if getattr(config.option, "numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


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


def run_here(
    jobs: Iterable[Job], workers: int = 1, on_event: Callable[[str, Any], None] = lambda name, event: None
) -> Iterator[tuple[str, Any]]:
    """Runs jobs as `capsbench.process.in_processes` does, but one after the other and in the calling process."""
    for job in jobs:
        try:
            result = job.function(*job.arguments, partial(on_event, job.name))
        except Exception as error:
            result = to_be_told(error)
        yield job.name, result


@contextmanager
def cells_in_one_process() -> Iterator[None]:
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("capsbench.runner.in_processes", run_here)
        patch.setattr("capsbench.estimate.in_process", lambda function, *given: function(*given, lambda event: None))
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
