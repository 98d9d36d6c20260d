"""Classes in the place of names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import capsbench
from capsbench.errors import Kind, UsageError
from capsbench.planning.classes import name_request
from capsbench.routing.em import EMRouting
from capsbench.tuning.challenge import make_request

MODULE = """
from capsbench.routing import DynamicRouting


class Mine(DynamicRouting):
    pass


def make_network():
    pass
"""

MINE = "routing_of_this_test:Mine"


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    (tmp_path / "routing_of_this_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    import routing_of_this_test

    yield routing_of_this_test.Mine
    sys.modules.pop("routing_of_this_test", None)


def test_a_class_has_the_name_of_its_module_and_what_is_built_in_its_own(mine: type) -> None:
    request = name_request({"routing": [mine, EMRouting, "uniform"], "network": "capsnet", "iters": [1, 3]})
    assert request == {"routing": [MINE, "em", "uniform"], "network": "capsnet", "iters": [1, 3]}


def test_a_function_that_makes_a_network_has_a_name_too(mine: type) -> None:
    make_network = sys.modules[mine.__module__].make_network
    assert name_request({"baseline": make_network}) == {"baseline": "routing_of_this_test:make_network"}


def test_a_cell_of_a_class_is_that_of_its_name(mine: type) -> None:
    how = dict(seeds=0, baseline="none", device="cpu")
    (cell,) = capsbench.cells(routing=mine, **how)
    assert cell.routing == MINE
    assert [cell] == capsbench.cells(routing=MINE, **how)
    assert cell.code.keys() == {"routing"}


def test_a_challenge_takes_classes(mine: type) -> None:
    assert make_request(mine, [EMRouting], {})["routing"] == [MINE, "em"]


@pytest.mark.parametrize("flag", ["routing", "network", "dataset", "measure"])
def test_a_class_of_a_notebook_is_refused_by_its_flag(flag: str, mine: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mine, "__module__", "__main__")
    with pytest.raises(UsageError) as caught:
        capsbench.cells(**{"routing": "em", flag: mine})
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INACCESSIBLE, flag, "__main__:Mine")
    assert "%%writefile" in str(caught.value.expected)


def test_a_class_within_a_function_is_refused_by_its_flag() -> None:
    class Inner:
        pass

    with pytest.raises(UsageError) as caught:
        name_request({"routing": Inner})
    assert (caught.value.kind, caught.value.flag) == (Kind.INACCESSIBLE, "routing")
