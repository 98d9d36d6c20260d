from typing import Any

import pytest

import capsbench
from capsbench import api
from capsbench.errors import Kind, UsageError
from capsbench.planning.count import MAX_CELLS, MOST_CELLS, count_cells
from capsbench.planning.matrix import plan_cells
from tests.faults.calling import call


@pytest.mark.parametrize(
    ("request_", "count"),
    [
        ({}, 2 * 3 * 2),
        ({"routing": "em", "seeds": 0}, 2),
        ({"routing": "em", "seeds": 0, "baseline": "none"}, 1),
        ({"routing": "em,dynamic", "iters": "1,2,3", "seeds": "0,1", "baseline": "none"}, 12),
        ({"routing": "dynamic", "squash": "sabour,unit", "leaky": "yes,no", "seeds": 0, "baseline": "none"}, 4),
        ({"routing": "em", "seeds": 0, "baseline": "matched,resnet", "baseline_size": "own,matched"}, 5),
    ],
)
def test_the_count_is_that_of_the_axes(request_: dict[str, Any], count: int) -> None:
    assert count_cells(request_) == count
    assert len(plan_cells(request_)) <= count


def test_the_cells_of_several_requests_are_counted_together() -> None:
    one = {"routing": "em", "seeds": 0, "baseline": "none"}
    assert count_cells(one, {**one, "seeds": [1, 2]}) == 3


SEEDS = range(1000)
MILLION = {"routing": "em", "baseline": "none", "seeds": SEEDS, "iters": range(1, 101), "epochs": range(1, 11)}


def test_too_many_cells_are_refused_before_any_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "plan_cells", lambda *requests: pytest.fail("planned"))
    told: list[int] = []
    for plan in (capsbench.cells, capsbench.run, lambda **request: api.plan(on_count=told.append, **request)):
        with pytest.raises(UsageError) as caught:
            plan(**MILLION)
        assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "max_cells", MAX_CELLS)
        assert str(10**6) in str(caught.value.expected).split()
    assert told == []


def test_the_limit_is_raised_and_lowered() -> None:
    asked = {"routing": "em", "baseline": "none", "seeds": [0, 1, 2]}
    assert len(capsbench.cells(**asked, max_cells=3)) == 3
    with pytest.raises(UsageError) as caught:
        capsbench.cells(**asked, max_cells=2)
    assert (caught.value.flag, caught.value.value) == ("max_cells", 2)


@pytest.mark.parametrize("max_cells", [0, MOST_CELLS + 1])
def test_a_limit_that_nobody_can_mean_is_refused(max_cells: int) -> None:
    with pytest.raises(UsageError) as caught:
        capsbench.cells(routing="em", seeds=0, baseline="none", max_cells=max_cells)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "max_cells", max_cells)


def test_the_number_is_told_before_the_cells_are_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(*requests: Any, remarks: list[str]) -> list[Any]:
        raise UsageError(Kind.CONFLICT, "planned")

    monkeypatch.setattr(api, "plan_cells", plan)
    seeds = ",".join(map(str, SEEDS))
    called = call("run", "--dry-run", "--routing", "em", "--iters", "1,2,3", "--seeds", seeds, "--max-cells", "6000")
    assert called.code == 2
    assert called.err.splitlines() == ["capsbench: planning up to 6,000 cells", "capsbench: planned"]
    assert call("run", "--dry-run", "--seeds", "0").err.splitlines() == ["capsbench: planned"]
    called = call("run", "--dry-run", "--routing", "em", "--iters", "1,2,3", "--seeds", seeds, "--max-cells", "5999")
    assert called.code == 2
    assert called.err.startswith("capsbench: --max-cells: ")
