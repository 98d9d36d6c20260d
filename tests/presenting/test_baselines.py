"""Which CNNs a capsule network is compared with, and by how much it differs from each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from capsbench.presenting.baselines import TOLERANCE
from capsbench.presenting.contenders import baseline_kinds, summary
from capsbench.presenting.filter import choose_records
from capsbench.presenting.format import format_summary
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench_baselines import sizing

Make = Callable[..., Record]
RESNET = {"network": "resnet", "parameters": 95_000, "options": {"network.parameters": 0}}


def test_each_baseline_has_its_differences_and_the_table_says_which_they_are_to(capsules: Make, matched: Make) -> None:
    records = [capsules(0.95, seed=0), capsules(0.96, seed=1), matched(0.94, seed=0), matched(0.93, seed=1)]
    records += [matched(0.97, seed=0, **RESNET), matched(0.90, network="cnn-sabour2017", options={})]
    table = summary(records)
    assert baseline_kinds(table) == ["matched", "cnn-sabour2017", "resnet"]
    row = table.iloc[0]
    assert [row[f"difference_points.{kind}"] for kind in baseline_kinds(table)] == pytest.approx([2.0, 5.0, -2.0])
    assert [row[f"difference_n.{kind}"] for kind in baseline_kinds(table)] == [2, 1, 1]
    identity = dict(zip(table["network"], table["contender"], strict=True))
    assert [row[f"baseline.{kind}"] for kind in baseline_kinds(table)] == [
        identity[kind] for kind in baseline_kinds(table)
    ]
    assert row["baseline"] == identity["matched"]
    shown = format_summary(table)
    assert shown[["vs matched", "vs cnn-sabour2017", "vs resnet"]].iloc[0].tolist() == [
        "+2.0 ± 13.2 (not tested, 2 seeds)",
        "+5.0 (not tested, 1 seed)",
        "-2.0 (not tested, 1 seed)",
    ]


def test_without_a_matched_cnn_the_first_other_one_is_the_baseline(capsules: Make, matched: Make) -> None:
    table = summary([capsules(0.95), matched(0.97, **RESNET)])
    assert table["baseline"].tolist()[0] == table["contender"].tolist()[1]
    assert table["difference_points.resnet"].tolist()[0] == pytest.approx(-2.0)
    assert "difference_points.matched" not in table


def test_a_baseline_at_both_sizes_is_two(capsules: Make, matched: Make) -> None:
    sized = {**RESNET, "parameters": 28_100, "options": {"network.parameters": 28_000}}
    table = summary([capsules(0.95), matched(0.97, **RESNET), matched(0.92, **sized)])
    assert baseline_kinds(table) == ["resnet, sized", "resnet"]
    assert table.loc[0, ["difference_points.resnet", "difference_points.resnet, sized"]].tolist() == pytest.approx(
        [-2.0, 3.0]
    )


def test_networks_within_2_percent_share_a_matched_cnn(capsules: Make, matched: Make) -> None:
    sizes = {"em": 28_000, "dynamic": 28_300, "uniform": 29_200}
    records = [capsules(0.95, size, routing=routing) for routing, size in sizes.items()]
    table = summary([*records, matched(0.94, to=28_100)]).set_index("routing")
    assert table["baseline"].notna()[["em", "dynamic", "uniform"]].tolist() == [True, True, False]


def test_of_several_matched_cnns_the_nearest_is_the_baseline(capsules: Make, matched: Make) -> None:
    beside = [matched(0.90, to=size) for size in (28_200, 27_950, 27_700)]
    table = summary([capsules(0.95, 28_000), *beside])
    assert table["baseline"].tolist()[0] == beside[1].cell.contender


def test_a_cnn_of_another_budget_or_of_no_classes_is_no_baseline(capsules: Make, matched: Make) -> None:
    other = [matched(epochs=11, **RESNET), matched(**{**RESNET, "loss": None}), matched(dataset="mnist", **RESNET)]
    assert baseline_kinds(summary([capsules(), *other])) == []


def test_a_choice_of_networks_has_all_their_baselines_with_it(capsules: Make, matched: Make) -> None:
    records = [capsules(), matched(), matched(**RESNET), matched(network="all-conv", epochs=3, options={})]
    kept = choose_records(records, ["routing=em"])
    assert [record.cell.network for record in kept] == ["matrix-capsules", "matched", "resnet"]


def test_the_tolerance_is_that_by_which_cnns_are_sized() -> None:
    assert TOLERANCE == sizing.TOLERANCE


@pytest.mark.parametrize(
    ("folder", "pairs"),
    [
        ("digits", 3),
        ("ci", 11),
        ("mnist-tiny", 4),
        ("few-examples-tiny", 3),
        ("gu2021-tiny", 4),
        ("sabour2017-tiny", 4),
    ],
)
def test_reference_results_have_their_baselines(folder: str, pairs: int) -> None:
    """Matched CNNs were sized for the very count of a capsule network before 0.2."""
    path = Path(__file__).parents[2] / "results" / "reference" / folder
    records, _ = Store(path).records()
    table = summary(records)
    assert table["baseline"].notna().sum() == pairs
    paired = table.dropna(subset="baseline").merge(
        table[["contender", "network", "parameters"]], left_on="baseline", right_on="contender"
    )
    own = paired[paired["network_y"] == "matched"]
    assert ((own["parameters_y"] / own["parameters_x"] - 1).abs() <= TOLERANCE).all()
    assert pd.notna(own["difference_points.matched"]).all() if len(own) else True
