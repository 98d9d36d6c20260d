"""``--where``: which records a report is about."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.presenting.filter import choose_records
from capsbench.records.record import Record

Make = Callable[..., Record]


@pytest.fixture
def records(capsules: Make, matched: Make) -> list[Record]:
    ours = [capsules(iterations=count, seed=seed) for count in (1, 3) for seed in (0, 1)]
    other = capsules(
        parameters=9_000, network="capsnet", routing="dynamic", options={"network.squash": "unit"}, train_size=500
    )
    return [*ours, *(matched(seed=seed) for seed in (0, 1)), other]


def _titles(records: list[Record]) -> list[str]:
    return [record.cell.title.partition(" tiny")[0] + f" {record.cell.seed}" for record in records]


def test_without_a_condition_all_are(records: list[Record]) -> None:
    assert choose_records(records, []) == records


def test_the_matched_baseline_of_what_is_chosen_stays_beside_it(records: list[Record]) -> None:
    assert _titles(choose_records(records, ["routing=em", "iters=3"])) == [
        "matrix-capsules em x3 0",
        "matrix-capsules em x3 1",
        "matched to 28,000 0",
        "matched to 28,000 1",
    ]
    assert _titles(choose_records(records, ["routing=dynamic"])) == ["capsnet dynamic x3 0"]


def test_conditions_on_seeds_and_networks_hold_for_baselines_too(records: list[Record]) -> None:
    assert _titles(choose_records(records, ["routing=em", "seeds=1", "network!=matched"])) == [
        "matrix-capsules em x1 1",
        "matrix-capsules em x3 1",
    ]


@pytest.mark.parametrize(
    "condition",
    ["squash=unit", "network.squash=unit", "train-size=500", "train_size=5e2", "--train-size=500", "lr=0.0030"],
)
def test_options_and_flags_are_named_as_they_are_typed(records: list[Record], condition: str) -> None:
    assert _titles(choose_records(records, [condition]))[-1] == "capsnet dynamic x3 0"


def test_none_and_no_are_values(records: list[Record]) -> None:
    assert len(choose_records(records, ["routing=none"])) == 2
    assert len(choose_records(records, ["train-size=all"])) == 6
    assert len(choose_records(records, ["reconstruction=no"])) == 7


@pytest.mark.parametrize(
    ("condition", "kind", "value"),
    [
        ("routing", Kind.INVALID, "routing"),
        ("=em", Kind.INVALID, "=em"),
        ("routing=", Kind.INVALID, "routing="),
        ("ruoting=em", Kind.UNKNOWN, "ruoting"),
        ("ruoting!=em", Kind.UNKNOWN, "ruoting"),
    ],
)
def test_a_condition_is_a_name_and_values(records: list[Record], condition: str, kind: Kind, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_records(records, [condition])
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (kind, "where", value)


@pytest.mark.parametrize(
    ("condition", "there"), [("routing=emm", ("dynamic", "em", "none")), ("iters=2", ("1", "3", "none"))]
)
def test_a_value_that_no_record_has_is_told_with_those_there_are(
    records: list[Record], condition: str, there: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError) as caught:
        choose_records(records, [condition])
    error = caught.value
    assert (error.kind, error.flag, error.value, error.expected) == (Kind.MISSING, "where", condition, there)


def test_conditions_that_nothing_meets_together_are_told(records: list[Record]) -> None:
    with pytest.raises(NothingMeasured) as caught:
        choose_records(records, ["routing=dynamic", "iters=1"])
    assert (caught.value.kind, caught.value.flag) == (Kind.MISSING, "where")
    assert caught.value.value == "routing=dynamic and iters=1"


def test_an_own_part_goes_by_the_short_name_that_tables_print(records: list[Record], capsules: Make) -> None:
    own = [capsules(network="capsnet", routing="my.kmeans:KMeansRouting", seed=seed, parameters=9) for seed in (0, 1)]
    for name in ("KMeansRouting", "my.kmeans:KMeansRouting"):
        assert choose_records([*records, *own], [f"routing={name}"]) == own
        assert choose_records([*records, *own], [f"routing!={name}"]) == records
    with pytest.raises(UsageError):
        choose_records([*records, *own], ["routing=kmeans"])
