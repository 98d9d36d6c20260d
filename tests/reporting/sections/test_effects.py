"""``--by``: what a choice does, over all that was varied beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from capsbench.errors import Kind, UsageError
from capsbench.presenting.material import Material, NoDataError
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.sections.effects import SECTION
from capsbench.stats.differences import paired_seeds

Make = Callable[..., Record]


def _table(records: list[Record], *by: str) -> pd.DataFrame:
    return SECTION.table(Material.of(records, Store(Path("nowhere")), by=by))


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
    assert table["difference_holds"].tolist() == [False, False, True]
    shown = SECTION.readable(table)
    assert shown["against 1"].tolist()[0] == ""
    assert shown["against 1"].tolist()[2].endswith("*")


def test_what_is_tested_is_corrected_for_all_differences_of_the_table(capsules: Make) -> None:
    accuracy = {1: (0.870, 0.872, 0.869), 2: (0.900, 0.905, 0.908), 3: (0.880, 0.882, 0.881)}
    records = [
        capsules(value, iterations=count, seed=seed)
        for count, own in accuracy.items()
        for seed, value in enumerate(own)
    ]
    table = _table(records, "iters")
    larger, smaller = (paired_seeds(accuracy[count], accuracy[1], step=0.001).p for count in (2, 3))
    assert smaller < larger < 0.05  # each alone would be one
    # Holm: the smaller of two times two; the larger as it is, and not below the other.
    assert table["difference_p"].tolist()[1:] == pytest.approx([max(larger, 2 * smaller), 2 * smaller])
    assert table["difference_holds"].tolist() == [False, larger < 0.05, 2 * smaller < 0.05]


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
    assert {"routing", "iterations"} <= {*caught.value.expected}
    with pytest.raises(NoDataError) as lacking:
        _table([capsules()])
    assert lacking.value.missing == "a choice"
