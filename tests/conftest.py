from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from capsbench.cell import Cell
from capsbench.cli import main
from capsbench.matrix import cells_of


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
