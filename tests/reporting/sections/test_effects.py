"""``--by``: what a choice does, over all that was varied beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from capsbench.errors import Kind, UsageError
from capsbench.presenting.marks import COLLAPSED
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.naming import Defaults, no_defaults
from capsbench.records.cell import Cell
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.sections.effects import SECTION
from capsbench.stats.differences import paired_seeds
from tests.making import FINE, STUCK, counted, make_failed

Make = Callable[..., Record]


def _table(records: list[Record], *by: str, defaults: Defaults = no_defaults) -> pd.DataFrame:
    return SECTION.table(Material.from_records(records, Store(Path("nowhere")), by, defaults))


def defaults_are(**known: Any) -> Defaults:
    return lambda cell: {name.replace("__", "."): value for name, value in known.items()}


def test_each_network_has_its_own_effect(capsules: Make, matched: Make) -> None:
    accuracy = {(capsules, 0.01): 0.379, (capsules, 0.1): 0.771, (matched, 0.01): 0.971, (matched, 0.1): 0.969}
    records = [make(value, learning_rate=rate) for (make, rate), value in accuracy.items()]
    table = _table(records, "lr")
    assert table[["within", "learning_rate"]].to_numpy().tolist() == [
        ["matrix-capsules", 0.01],
        ["matrix-capsules", 0.1],
        ["matched", 0.01],
        ["matched", 0.1],
    ]
    assert table["accuracy %"].tolist() == pytest.approx([37.9, 77.1, 97.1, 96.9])
    assert table["difference"].dropna().tolist() == pytest.approx([39.2, -0.2])
    assert SECTION.readable(table)["network"].tolist() == table["within"].tolist()


def test_cnns_of_several_sizes_are_settings_of_one_network(matched: Make) -> None:
    accuracy = {(11_000, 0.01): 0.1, (57_000, 0.01): 0.11, (11_000, 0.1): 0.1, (57_000, 0.1): 0.13}
    table = _table([matched(value, to=size, learning_rate=rate) for (size, rate), value in accuracy.items()], "lr")
    assert table["settings"].tolist() == [2, 2]
    assert table["accuracy %"].tolist() == pytest.approx([10.5, 11.5])
    assert table["difference"][1] == pytest.approx(1.0)
    assert table["difference_settings"][1] == 2


def test_a_network_without_the_choice_has_no_lines(capsules: Make, matched: Make) -> None:
    records = [matched(0.9), *(capsules(options={"routing.epsilon": value}) for value in (0.01, 0.1))]
    table = _table(records, "epsilon")
    assert table["within"].tolist() == ["", ""]
    assert "network" not in SECTION.readable(table)


def test_a_network_that_follows_from_the_value_is_no_block(capsules: Make, matched: Make) -> None:
    other = capsules(0.95, routing="dynamic", network="capsnet", loss="margin")
    table = _table([capsules(0.9), other, matched()], "routing")
    assert table["routing"].tolist() == ["em", "dynamic"]
    assert table["difference"].dropna().tolist() == pytest.approx([5.0])


@pytest.mark.parametrize(
    ("default", "order"), [("unit", ["unit", "efficient", "sabour"]), ("sabour", ["sabour", "efficient", "unit"])]
)
def test_values_are_compared_with_the_default(capsules: Make, default: str, order: list[str]) -> None:
    accuracy = {"efficient": 0.90, "sabour": 0.95, "unit": 0.80}
    records = [capsules(value, options={"routing.squash": name}) for name, value in accuracy.items()]
    table = _table(records, "squash", defaults=defaults_are(routing__squash=default))
    assert table["routing.squash"].tolist() == order
    assert table["against.routing.squash"].tolist() == [default] * 3
    assert table["difference"].tolist()[1:] == pytest.approx(
        [100 * (accuracy[name] - accuracy[default]) for name in order[1:]]
    )
    assert f"against {default}" in SECTION.readable(table)


def test_without_the_default_numbers_are_compared_with_the_least_and_others_with_the_first_asked_for(
    capsules: Make,
) -> None:
    rates = [capsules(learning_rate=rate) for rate in (0.1, 0.01, 1.0)]
    assert _table(rates, "lr", defaults=defaults_are(learning_rate=0.02))["learning_rate"].tolist() == [0.01, 0.1, 1.0]
    squashes = [capsules(options={"routing.squash": name}) for name in ("unit", "efficient")]
    assert _table(squashes, "squash")["routing.squash"].tolist() == ["unit", "efficient"]


def test_where_networks_differ_in_their_default_a_column_says_what_each_is_compared_with(capsules: Make) -> None:
    def rates(cell: Cell) -> dict[str, Any]:
        return {"learning_rate": {"matrix-capsules": 0.01, "capsnet": 0.1}[cell.network]}

    networks = ({}, {"network": "capsnet", "routing": "dynamic", "loss": "margin"})
    records = [capsules(learning_rate=rate, **network) for network in networks for rate in (0.01, 0.1)]
    table = _table(records, "lr", defaults=rates)
    assert table["within"].tolist() == ["capsnet"] * 2 + ["matrix-capsules"] * 2
    assert table["learning_rate"].tolist() == [0.1, 0.01, 0.01, 0.1]
    assert SECTION.readable(table)["against"].tolist() == ["0.1", "0.1", "0.01", "0.01"]


def test_all_training_images_are_a_value_and_the_default(capsules: Make) -> None:
    records = [capsules(value, train_size=size) for size, value in ((60, 0.7), (None, 0.9), (500, 0.8))]
    table = _table(records, "train-size", defaults=defaults_are(train_size=None))
    assert table["train_size"].tolist() == ["all", 60, 500]
    assert table["difference"].tolist()[1:] == pytest.approx([-20.0, -10.0])


def test_a_value_is_averaged_over_what_was_varied_beside(capsules: Make) -> None:
    accuracy = {(1, 0.01): 0.90, (1, 0.02): 0.80, (3, 0.01): 0.94, (3, 0.02): 0.88}
    records = [
        capsules(value + seed / 100, iterations=count, learning_rate=rate, seed=seed)
        for (count, rate), value in accuracy.items()
        for seed in (0, 1, 2)
    ]
    one, three = _table(records, "iters").to_dict("records")
    assert (one["iterations"], three["iterations"]) == (1, 3)
    assert one["accuracy %"] == pytest.approx(86.0)
    assert three["accuracy %"] == pytest.approx(92.0)
    assert (three["settings"], three["n"]) == (2, 3)
    assert three["difference"] == pytest.approx(6.0)  # of 4 and 8 points
    assert pd.isna(one["difference"])


def test_only_settings_that_all_values_have_are_averaged(capsules: Make) -> None:
    easy = [capsules(0.9, routing=routing, iterations=1) for routing in ("em", "dynamic")]
    hard = capsules(0.1, routing="em", iterations=5)  # alone: it says nothing of em against dynamic
    dynamic, em = _table([*easy, hard], "routing").to_dict("records")
    assert dynamic["accuracy %"] == em["accuracy %"] == pytest.approx(90.0)
    assert em["settings"] == 1


def test_what_follows_from_a_value_is_no_setting(capsules: Make) -> None:
    options = {"em": {"routing.epsilon": 0.01}, "dynamic": {"routing.squash": "unit"}}
    records = [capsules(routing=name, options=own) for name, own in options.items()]
    assert _table(records, "routing")["difference_settings"].tolist() == [1, 1]


def test_a_difference_that_holds_is_marked(capsules: Make) -> None:
    accuracy = {1: (0.900, 0.901, 0.899), 2: (0.901, 0.899, 0.901), 3: (0.950, 0.952, 0.949)}
    records = [
        capsules(value, iterations=count, seed=seed)
        for count, own in accuracy.items()
        for seed, value in enumerate(own)
    ]
    table = _table(records, "iters")
    assert table["difference_verdict"].tolist() == ["", "not significant", "different"]
    shown = SECTION.readable(table)
    assert shown["against 1"].tolist()[0] == ""
    assert shown["against 1"].tolist()[2].endswith("*")
    assert shown["seeds needed"].tolist() == ["", "> 100", ""]


def test_an_effect_is_of_the_second_family_and_of_one_setting_the_verdict_on_the_pair(capsules: Make) -> None:
    accuracy = {1: (0.870, 0.872, 0.869), 2: (0.900, 0.905, 0.908), 3: (0.880, 0.882, 0.881)}
    records = [
        capsules(value, iterations=count, seed=seed)
        for count, own in accuracy.items()
        for seed, value in enumerate(own)
    ]
    material = Material.from_records(records, Store(Path("nowhere")), by=["iters"])
    table = SECTION.table(material)
    alone = [paired_seeds(accuracy[count], accuracy[1], step=0.001).p for count in (2, 3)]
    # Bonferroni over 3 pairs and, since effects are asked for, 3 contenders
    assert table["difference_p"].tolist()[1:] == pytest.approx([6 * p for p in alone])
    one, two, _ = material.summary["contender"]
    verdict = material.verdicts.of_accuracy(two, one)
    assert table["difference, ci95"].iloc[1] == pytest.approx(100 * verdict.half)


def test_what_a_seed_costs_is_no_setting(capsules: Make) -> None:
    records = [
        capsules(0.9 + count / 100, iterations=count, seed=seed, step=10.0 + seed + count / 7)
        for count in (1, 3)
        for seed in (0, 1, 2)
    ]
    table = _table(records, "iters")
    assert table["settings"].tolist() == [1, 1]
    assert table["difference"].tolist()[1] == pytest.approx(2.0)


def test_an_effect_of_few_seeds_is_not_tested(capsules: Make) -> None:
    table = _table([capsules(0.9, iterations=1), capsules(0.3, iterations=3)], "iters")
    assert table["difference_verdict"].tolist() == ["", "not tested"]
    assert SECTION.readable(table)["against 1"].tolist() == ["", "-60.00 (not tested, 1 seed)"]


def test_a_seed_that_lacks_a_setting_is_not_in_the_difference(capsules: Make) -> None:
    accuracy = {(1, 0.01): 0.90, (1, 0.02): 0.80, (3, 0.01): 0.94, (3, 0.02): 0.88}
    records = [
        capsules(value, iterations=count, learning_rate=rate, seed=seed)
        for (count, rate), value in accuracy.items()
        for seed in (0, 1, 2)
        if (count, rate, seed) != (3, 0.02, 2)
    ]
    _, three = _table(records, "iters").to_dict("records")
    assert three["difference"] == pytest.approx(6.0)  # of 4 and 8 points; seed 2 has those 4 alone
    assert (three["difference_n"], three["difference_settings"]) == (2, 2)


def test_options_and_combinations_are_named_as_they_are_typed(capsules: Make) -> None:
    records = [
        capsules(iterations=count, options={"routing.epsilon": value}) for count in (1, 3) for value in (0.01, 0.1)
    ]
    shown = SECTION.readable(_table(records, "iters", "epsilon"))
    assert shown["iterations / epsilon"].tolist() == ["1 / 0.01", "1 / 0.1", "3 / 0.01", "3 / 0.1"]


@pytest.mark.parametrize("name", ["cell", "seed", "seeds", "--seeds"])
def test_what_differences_are_averages_over_cannot_be_asked_about(capsules: Make, name: str) -> None:
    records = [capsules(seed=seed) for seed in (0, 1)]
    with pytest.raises(UsageError) as caught:
        _table(records, name)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.CONFLICT, "by", name)


def test_an_unknown_name_is_an_error_and_nothing_asked_is_no_section(capsules: Make) -> None:
    with pytest.raises(UsageError) as caught:
        _table([capsules()], "ruoting")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.UNKNOWN, "by", "ruoting")
    assert {"routing", "iters"} <= {*caught.value.expected}
    with pytest.raises(NoDataError) as lacking:
        _table([capsules()])
    assert lacking.value.missing == "a choice"


def test_levels_of_yes_and_no_are_the_words_of_the_flag(capsules: Make) -> None:
    records = [capsules(options={"network.coordinate_addition": value}) for value in (True, False)]
    shown = SECTION.readable(_table(records, "coordinate-addition"))
    assert sorted(shown["coordinate_addition"]) == ["no", "yes"]


def test_an_unknown_choice_is_answered_with_what_can_be_typed(capsules: Make) -> None:
    with pytest.raises(UsageError) as caught:
        _table([capsules()], "foo")
    expected = caught.value.expected
    assert {"lr", "iters", "train_size", "epsilon"} <= set(expected or ())
    material = Material.from_records([capsules(train_size=100)], Store(Path("nowhere")), ("lr",))
    for name in expected or ():
        SECTION.table(replace(material, by=(name,)))
    assert (caught.value.kind, caught.value.flag) == (Kind.UNKNOWN, "by")


def test_values_have_the_marks_of_the_contenders_that_enter(capsules: Make) -> None:
    records = [
        counted(capsules(seed=seed, learning_rate=rate), **counts)
        for rate, counts in ((0.01, FINE), (0.1, STUCK))
        for seed in (0, 1)
    ]
    failed = make_failed(capsules(seed=2, learning_rate=0.01).cell)
    table = _table([*records, failed], "lr")
    assert table["collapsed"].tolist() == [False, True]
    assert table[["n", "seeds"]].to_numpy().tolist() == [[2, 3], [2, 2]]
    shown = SECTION.readable(table)
    assert shown["learning_rate"].tolist() == ["0.01 (2 of 3 seeds)", f"0.1 {COLLAPSED.sign}"]
    assert shown["n"].tolist() == ["2 of 3", "2"]


def test_a_value_has_a_mark_that_any_of_its_settings_has(capsules: Make) -> None:
    records = [
        counted(capsules(learning_rate=rate, iterations=iterations), **(STUCK if rate * iterations == 0.03 else FINE))
        for rate in (0.01, 0.1)
        for iterations in (1, 3)
    ]
    assert _table(records, "lr")["collapsed"].tolist() == [True, False]
