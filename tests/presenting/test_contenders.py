"""A few records in, the rows of the table out."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd
import pytest

from capsbench.presenting.contenders import collect_curves, summary
from capsbench.presenting.format import format_si, format_summary
from capsbench.presenting.markdown import to_markdown
from capsbench.records.record import Record
from capsbench.stats.differences import paired_seeds

Make = Callable[..., Record]


def test_mean_and_t_interval_over_three_seeds(capsules: Make) -> None:
    table = summary([capsules(accuracy, seed=seed) for seed, accuracy in enumerate((0.96, 0.97, 0.98))])
    (row,) = table.to_dict("records")
    assert row["n"] == 3
    assert row["accuracy_percent"] == pytest.approx(97.0)
    # variance 1, and 1/12 of rounding to 1 of 100 images; t(0.975; 2) = 4.302653
    assert row["accuracy_ci95"] == pytest.approx(4.302653 * math.sqrt((1 + 1 / 12) / 3))
    assert format_summary(table)["accuracy %"].tolist() == ["97.0 ± 2.6"]


def test_one_seed_has_no_interval(capsules: Make) -> None:
    table = summary([capsules(0.9749)])
    assert table["accuracy_ci95"].isna().all()
    assert format_summary(table)["accuracy %"].tolist() == ["97.5"]


def test_difference_to_the_matched_baseline_is_paired_over_seeds(capsules: Make, matched: Make) -> None:
    records = [capsules(accuracy, seed=seed) for seed, accuracy in enumerate((0.90, 0.95, 0.98))]
    records += [matched(accuracy, seed=seed) for seed, accuracy in enumerate((0.89, 0.93, 0.95))]
    ours, beside = summary(records).to_dict("records")
    # 1, 2 and 3 points: mean 2, variance 1, and 1/6 of rounding both; unpaired the interval would be far wider
    assert ours["difference_points.matched"] == pytest.approx(2.0)
    assert ours["difference_ci95.matched"] == pytest.approx(4.302653 * math.sqrt((1 + 1 / 6) / 3))
    assert (ours["baseline"], beside["network"]) == (beside["contender"], "matched")
    assert pd.isna(beside["difference_points.matched"])


def test_what_is_tested_is_corrected_for_all_differences_of_the_table(capsules: Make, matched: Make) -> None:
    accuracy = {1: (0.886, 0.904, 0.897), 2: (0.880, 0.882, 0.881), 3: (0.871, 0.869, 0.870)}
    beside = (0.870, 0.872, 0.869)
    records = [matched(value, seed=seed) for seed, value in enumerate(beside)]
    records += [
        capsules(value, iterations=count, seed=seed)
        for count, own in accuracy.items()
        for seed, value in enumerate(own)
    ]
    table = summary(records).dropna(subset="difference_p.matched")
    alone = [paired_seeds(own, beside, step=0.001).p for own in accuracy.values()]
    # Holm: the smallest of three times three, the next times two, and none below one before it.
    first, second, third = sorted(alone)
    adjusted = {first: 3 * first, second: max(3 * first, 2 * second), third: max(3 * first, 2 * second, third)}
    assert table["difference_p.matched"].tolist() == pytest.approx([min(1.0, adjusted[p]) for p in alone])
    assert second < 0.05 < adjusted[second]  # alone it would be one
    outcomes = ["different" if adjusted[p] < 0.05 else "not significant" for p in alone]
    assert table["difference_verdict.matched"].tolist() == outcomes
    clear = table["difference_points.matched"].abs() > table["difference_ci95.matched"]
    assert clear.tolist() == [outcome == "different" for outcome in outcomes]
    assert table["difference_seeds_needed.matched"].isna().tolist()[0] == (outcomes[0] == "different")


def test_difference_takes_only_the_seeds_that_both_have(capsules: Make, matched: Make) -> None:
    records = [capsules(0.90 + seed / 100, seed=seed) for seed in (0, 1, 2)]
    records += [matched(0.88, seed=seed) for seed in (1, 2, 3)]
    table = summary(records)
    assert table.loc[0, ["n", "difference_n.matched"]].tolist() == [3, 2]
    assert table.loc[0, "difference_points.matched"] == pytest.approx(3.5)
    assert format_summary(table)["vs matched"].tolist() == ["+3.5 ± 7.3 (not tested, 2 seeds)", ""]


def test_iterations_share_one_baseline_that_follows_them(capsules: Make, matched: Make) -> None:
    table = summary([matched(0.95), *(capsules(0.95, iterations=count) for count in (3, 1, 2))])
    assert table["iterations"].tolist() == [1, 2, 3, pd.NA]
    assert table["baseline"].tolist()[:3] == [table["contender"].iloc[3]] * 3


def test_each_network_has_the_baseline_of_its_own_parameters(capsules: Make, matched: Make) -> None:
    other = dict(network="capsnet", routing="dynamic", loss="margin", options={"network.stem": 9})
    records = [matched(0.90, to=61_000), matched(0.80, to=28_000), capsules(0.85), capsules(0.85, 61_000, **other)]
    table = summary(records)
    assert table["network"].tolist() == ["capsnet", "matched", "matrix-capsules", "matched"]
    assert table["difference_points.matched"].dropna().tolist() == pytest.approx([-5.0, 5.0])


@pytest.mark.parametrize("budget", [{"epochs": 11}, {"train_size": 500}, {"dataset": "mnist"}, {"size": "small"}])
def test_a_matched_network_of_another_budget_is_no_baseline(capsules: Make, matched: Make, budget: dict) -> None:
    table = summary([capsules(), matched(**budget)])
    assert table["baseline"].isna().all()
    assert "difference_points.matched" not in table


def test_among_baselines_of_several_learning_rates_the_own_one_counts(capsules: Make, matched: Make) -> None:
    rates = (0.001, 0.01)
    records = [capsules(0.95, learning_rate=rate) for rate in rates]
    records += [matched(accuracy, learning_rate=rate) for rate, accuracy in zip(rates, (0.94, 0.90), strict=True)]
    table = summary(records)
    assert table["learning_rate"].tolist() == [0.001, 0.001, 0.01, 0.01]
    assert table["difference_points.matched"].dropna().tolist() == pytest.approx([1.0, 5.0])


def test_a_baseline_is_found_although_its_learning_rate_is_another(capsules: Make, matched: Make) -> None:
    table = summary([capsules(0.95, learning_rate=0.01), matched(0.94, learning_rate=0.003)])
    assert table["difference_points.matched"].tolist()[0] == pytest.approx(1.0)
    assert "learning_rate" not in table


def test_between_two_baselines_none_is_chosen(capsules: Make, matched: Make) -> None:
    records = [capsules(learning_rate=0.1), matched(learning_rate=0.01), matched(learning_rate=0.001)]
    assert summary(records)["baseline"].isna().all()


def test_data_sets_and_sizes_stand_in_order(capsules: Make, matched: Make) -> None:
    places = [(d, s) for d in ("mnist", "digits") for s in ("paper", "tiny", "small")]
    table = summary([make(dataset=dataset, size=size) for dataset, size in places for make in (matched, capsules)])
    assert table["dataset"].tolist() == ["digits"] * 6 + ["mnist"] * 6
    assert table["size"].tolist() == ["tiny", "tiny", "small", "small", "paper", "paper"] * 2
    assert table["network"].tolist() == ["matrix-capsules", "matched"] * 6
    assert table["difference_points.matched"].notna().sum() == 6


def test_train_sizes_are_a_column_where_they_are_set(capsules: Make) -> None:
    assert "train_size" not in summary([capsules()])
    table = summary([capsules(train_size=size) for size in (None, 500, 60)])
    assert table["train_size"].tolist() == [60, 500, pd.NA]
    assert format_summary(table)["train"].tolist() == ["60", "500", "all"]


def test_an_option_that_varies_is_a_column(capsules: Make, matched: Make) -> None:
    options = [{"network.stem": 32, "routing.epsilon": epsilon} for epsilon in (0.1, 0.01)]
    table = summary([matched(0.90), *(capsules(0.95, options=each) for each in options)])
    assert table["routing.epsilon"].tolist()[:2] == [0.01, 0.1]
    assert format_summary(table)["routing.epsilon"].tolist() == ["0.01", "0.1", ""]
    assert "network.stem" not in table


def test_what_follows_from_the_network_is_no_column(capsules: Make) -> None:
    other = dict(network="capsnet", routing="dynamic", loss="margin", epochs=20, options={"network.types": 4})
    assert {"loss", "epochs", "network.types", "network.stem"}.isdisjoint(summary([capsules(), capsules(**other)]))


def test_an_edited_routing_of_ones_own_is_another_contender(capsules: Make) -> None:
    own = "my_package.my_module:MyRouting"
    table = summary([capsules(routing=own, code={"routing": digest}) for digest in ("aaaa", "bbbb")])
    assert table["code.routing"].tolist() == ["aaaa", "bbbb"]
    assert format_summary(table)["routing"].tolist() == ["MyRouting", "MyRouting"]


def test_costs_are_medians_over_seeds(capsules: Make) -> None:
    table = summary([capsules(seed=seed, step=step) for seed, step in enumerate((10.0, 11.0, 90.0))])
    costs = ["parameters", "flops", "training_step_ms", "inference_ms", "memory_mib"]
    assert table.loc[0, costs].tolist() == pytest.approx([28_000, 2.5e6, 11.0, 11 / 3, 40.0])
    shown = format_summary(table)[["parameters", "FLOPs", "step", "inference", "memory"]]
    assert shown.to_numpy().tolist() == [["28.0K", "2.5M", "11.0 ms", "3.67 ms", "40 MiB"]]


def test_a_small_peak_of_memory_is_not_told_as_none(capsules: Make) -> None:
    table = summary([capsules()])
    assert format_summary(table.assign(memory_mib=0.043))["memory"].tolist() == ["0.043 MiB"]


def test_what_was_not_measured_has_no_column(capsules: Make) -> None:
    only_accuracy = format_summary(summary([capsules(0.97, None)]))
    assert list(only_accuracy) == ["dataset", "size", "network", "routing", "iters", "n", "accuracy %"]
    only_speed = summary([capsules(None, 28_000)])
    assert "accuracy_percent" not in only_speed
    assert only_speed.loc[0, "flops"] == 2.5e6


def test_a_network_without_accuracy_stands_beside_one_that_has_it(capsules: Make, matched: Make) -> None:
    unsupervised = dict(network="transforming-autoencoder", routing=None, iterations=None, loss=None)
    shown = format_summary(summary([capsules(None, **unsupervised), capsules(0.97), matched(0.96)]))
    assert shown["network"].tolist() == ["matrix-capsules", "matched", "transforming-autoencoder"]
    assert shown["accuracy %"].tolist() == ["97.0", "96.0", ""]
    assert shown["vs matched"].tolist() == ["+1.0 (not tested, 1 seed)", "", ""]


def test_failed_cells_count_for_nothing(capsules: Make, failed: Make) -> None:
    assert summary([capsules(seed=0), failed(seed=1)])["n"].tolist() == [1]
    nothing = summary([failed()])
    assert nothing.empty
    assert format_summary(nothing).empty


def test_curves_name_the_contender_of_each_epoch(capsules: Make, failed: Make) -> None:
    records = [capsules(seed=0), capsules(seed=1), capsules(iterations=1), failed(iterations=2)]
    table = collect_curves(records)
    assert table.groupby("contender").size().sort_values().tolist() == [2, 4]
    assert set(table["contender"]) == set(summary(records)["contender"])


def test_markdown_keeps_a_bar_inside_its_cell() -> None:
    table = pd.DataFrame({"network": ["a|b"], "n": ["3"]})
    assert to_markdown(table).splitlines() == ["| network | n |", "| --- | ---: |", "| a\\|b | 3 |"]


@pytest.mark.parametrize(
    ("number", "text"), [(0.05, "0.05"), (950.0, "950"), (28_012, "28.0K"), (1.25e6, "1.2M"), (3e9, "3.0G")]
)
def test_si(number: float, text: str) -> None:
    assert format_si(number) == text


def test_seeds_that_failed_are_counted(capsules: Make, failed: Make) -> None:
    left = [capsules(0.97, seed=0), capsules(0.99, seed=1), failed(seed=2)]
    table = summary([*left, capsules(0.9, iterations=1, seed=0)])
    assert table[["iterations", "n", "seeds"]].to_numpy().tolist() == [[1, 1, 1], [3, 2, 3]]
    assert table["accuracy_percent"].tolist() == pytest.approx([90.0, 98.0])
    assert format_summary(table)["n"].tolist() == ["1", "2 of 3"]


def test_seeds_without_an_accuracy_are_not_counted_into_its_mean(capsules: Make) -> None:
    """Trained, and then its scores were not finite."""
    table = summary([capsules(0.97, seed=0), capsules(0.99, seed=1), capsules(None, seed=2)])
    assert table[["n", "seeds", "accuracy_n"]].to_numpy().tolist() == [[3, 3, 2]]
    (shown,) = format_summary(table)["accuracy %"]
    assert shown.startswith("98.0 [85.0, 100.0]")
    assert shown.endswith(" (n=2)")
