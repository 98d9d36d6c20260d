"""Who is ahead on what, and of whom that can be said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from capsbench.presenting.marks import COLLAPSED, UNSOUND
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.words import TIMES
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from capsbench.reporting.sections.winners import SECTION
from capsbench.stats.differences import paired_seeds
from tests.making import FINE, STUCK, counted, with_rows

Make = Callable[..., Record]


def _table(records: list[Record]) -> pd.DataFrame:
    return SECTION.table(Material.from_records(records, Store(Path("nowhere"))))


def _line(records: list[Record]) -> dict[str, str]:
    """The only line as people read it."""
    (line,) = SECTION.readable(_table(records)).to_dict("records")
    return {str(name): str(text).replace("\N{NO-BREAK SPACE}", " ") for name, text in line.items()}


ACCURACY = {1: (0.90, 0.91, 0.90), 2: (0.95, 0.97, 0.955), 3: (0.96, 0.96, 0.9605)}


@pytest.fixture
def records(capsules: Make) -> list[Record]:
    """One, two and three iterations, of three seeds each."""
    return [
        capsules(value, iterations=count, seed=seed)
        for count, own in ACCURACY.items()
        for seed, value in enumerate(own)
    ]


def test_the_best_mean_is_first_and_only_what_is_shown_to_be_behind_is(records: list[Record]) -> None:
    line = _line(records)
    assert line["first"] == f"em {TIMES}3"
    # 5, 6.05 and 6 points: their mean, and their standard error times the t quantile of 2 degrees of freedom at 5 % of 3
    assert line["the others"] == (
        f"Ahead of em {TIMES}1 (5.7 ± 2.6). Not significantly different: em {TIMES}2 (0.2 ± 4.6, > 100 seeds would show it). "
        f"Cheapest of these: em {TIMES}3, 2.5M FLOPs."
    )


def test_each_comparison_counts_as_all_pairs_of_all_lines(records: list[Record]) -> None:
    """em x1 is behind with p = 0.0035: of 3 pairs that is a difference, of 18 in six lines like this it is none."""
    alone = paired_seeds(ACCURACY[3], ACCURACY[1], step=0.0005).p
    row = _table(records).set_index("other_name").loc[f"em {TIMES}1"]
    assert row["p"] == pytest.approx(3 * alone)
    assert row["ahead"]
    budgets = [
        replace(record, cell=type(record.cell)(**record.cell.model_dump() | {"epochs": epochs}))
        for record in records
        for epochs in range(20, 26)
    ]
    rows = _table(budgets)
    assert rows["on"].nunique() == 6
    rows = rows[rows["other_name"].str.startswith(f"em {TIMES}1")]
    assert rows["p"].tolist() == pytest.approx([18 * alone] * 6)
    assert not rows["ahead"].any()


@pytest.mark.parametrize("seeds", [1, 2])
def test_of_few_seeds_nothing_is_tested(capsules: Make, seeds: int) -> None:
    records = [
        capsules(accuracy + seed / 1e6, iterations=count, seed=seed)
        for count, accuracy in ((3, 0.99), (1, 0.5))
        for seed in range(seeds)
    ]
    (row,) = _table(records).to_dict("records")
    assert (row["verdict"], row["behind_by_n"], row["seeds_needed"]) == ("not tested", seeds, None)
    line = _line(records)
    assert line["first"] == f"em {TIMES}3"
    assert line["the others"].startswith(f"Not tested: em {TIMES}1 (49.0, {seeds} seed")
    assert "Cheapest" not in line["the others"]


def test_the_cheapest_is_one_that_is_not_significantly_different_from_the_first(capsules: Make) -> None:
    cheap = [capsules(value, seed=seed, iterations=1, flops=1e6) for seed, value in enumerate((0.95, 0.96, 0.94))]
    dear = [capsules(value, seed=seed, iterations=3, flops=3e6) for seed, value in enumerate((0.96, 0.95, 0.95))]
    line = _line([*cheap, *dear])
    assert line["first"] == f"em {TIMES}3"
    assert line["the others"].endswith(f"Cheapest of these: em {TIMES}1, 1.0M FLOPs.")


def test_of_an_error_the_least_is_first(capsules: Make) -> None:
    def novel(error: float, **fields: int) -> Record:
        record = capsules(0.9, **fields)
        return with_rows(record, [*record.rows, Row("viewpoint", "error", "novel", error, "fraction")])

    table = _table([novel(0.3, iterations=1), novel(0.2, iterations=3)])
    (row,) = table[table["measured"] == "error on novel viewpoints %"].to_dict("records")
    assert (row["first_name"], row["value"]) == (f"em {TIMES}3", pytest.approx(20.0))


def test_networks_of_other_budgets_do_not_compete(capsules: Make) -> None:
    with pytest.raises(NoDataError):
        _table([capsules(epochs=1), capsules(epochs=2)])


def test_many_names_are_counted(capsules: Make) -> None:
    records = [capsules(0.9 + count / 1000, iterations=count) for count in range(1, 9)]
    assert _line(records)["the others"] == (
        f"Not tested: em {TIMES}7 (0.1, 1 seed); em {TIMES}6 (0.2, 1 seed); em {TIMES}5 (0.3, 1 seed) and 4 more."
    )


NUMBERS = {
    "accuracy": Row("accuracy", "accuracy", "test", 0, "fraction"),
    "consistency": Row("equivariance", "consistency", "all", 0, "fraction"),
    "worst case": Row("adversarial", "robust accuracy", "Linf, worst case", 0, "fraction", 0.05),
    "warps": Row("affine", "area under the curve", "rotation", 0, "fraction"),
    "viewpoints": Row("viewpoint", "error", "novel", 0, "fraction"),
}
WITHSTOOD = [name for name in NUMBERS if name != "accuracy"]


def seeds_with(make: Make, what: dict[str, int], values: dict[str, float], **fields: Any) -> list[Record]:
    """Three seeds with these counts on the test images and these numbers, a little more each seed."""
    made = []
    for seed in range(3):
        record = counted(make(seed=seed, **fields), **what)
        rows = [NUMBERS[name]._replace(value=value + seed / 1000) for name, value in values.items()]
        made.append(with_rows(record, [*record.rows, *rows]))
    return made


@pytest.mark.parametrize("name", WITHSTOOD)
def test_a_network_that_says_one_class_has_no_part_in_what_is_withstood(
    capsules: Make, matched: Make, name: str
) -> None:
    best, others = (0.0, 0.3) if NUMBERS[name].metric == "error" else (1.0, 0.7)
    stuck = seeds_with(capsules, STUCK, {name: best})
    fine = [row for count in (1, 2) for row in seeds_with(capsules, FINE, {name: others}, iterations=count)]
    table = _table([*stuck, *fine])
    own = table[~table["measured"].str.startswith("test accuracy")].set_index("other_name")
    assert set(own["first_name"]) == {f"em {TIMES}1"}
    assert own["kept_out"].to_dict() == {f"em {TIMES}2": False, f"em {TIMES}3 {COLLAPSED.sign}": True}
    assert not own["ahead"].any()
    assert pd.isna(own.loc[f"em {TIMES}3 {COLLAPSED.sign}", "p"])

    alone = _table([*stuck, *seeds_with(matched, FINE, {name: others})])
    (row,) = alone[~alone["measured"].str.startswith("test accuracy")].to_dict("records")
    assert (row["first_name"], row["kept_out"]) == ("matched CNN", True)
    assert (
        SECTION.readable(alone)["the others"].iloc[1]
        == f"Collapsed and kept out: em\u00a0{TIMES}3\u00a0{COLLAPSED.sign}."
    )


def test_seeds_that_would_show_a_difference_are_whole_beside_who_is_kept_out(capsules: Make) -> None:
    records = seeds_with(capsules, STUCK, {"consistency": 1.0})
    records += seeds_with(capsules, FINE, {"consistency": 0.7}, iterations=2)
    for seed, value in enumerate((0.60, 0.65, 0.69)):
        record = counted(capsules(seed=seed, iterations=1), **FINE)
        records.append(with_rows(record, [*record.rows, NUMBERS["consistency"]._replace(value=value)]))
    table = _table(records)
    own = table[table["measured"] == "predictions kept under transformations %"].set_index("kept_out")
    needed = own["seeds_needed"]
    assert pd.isna(needed[True])
    told = SECTION.readable(table)["the others"].iloc[-1].replace("\u00a0", " ")
    assert f", {int(needed[False])} seeds would show it)" in told


def test_the_majoritys_class_is_not_first_under_warps(capsules: Make, matched: Make) -> None:
    """On 90:10 data it has 90 % of the images right, whatever is done to them."""
    majority = {"images": 1000, "predicted": 1000, "labelled": 900, "right": 900}
    good = {"images": 1000, "predicted": 905, "labelled": 900, "right": 985}
    warps = [
        *seeds_with(capsules, majority, {"warps": 0.9}),
        *seeds_with(matched, good, {"warps": 0.8}),
    ]
    first = _table(warps).set_index("measured")["first_name"]
    assert first.to_dict() == {
        "test accuracy %": "matched CNN",
        "accuracy under warps, mean of families %": "matched CNN",
    }


def test_of_collapsed_networks_alone_nobody_is_first(capsules: Make) -> None:
    records = [row for count in (1, 3) for row in seeds_with(capsules, STUCK, {"consistency": 1.0}, iterations=count)]
    with pytest.raises(NoDataError):
        _table(records)


@pytest.mark.parametrize(("held", "ahead"), [(1.0, True), (0.0, False)])
def test_who_is_first_against_attacks_that_failed_a_check_is_ahead_of_nobody(
    capsules: Make, matched: Make, held: float, ahead: bool
) -> None:
    records = seeds_with(capsules, FINE, {"worst case": 0.9})
    check = Row("adversarial", "sanity check", "gradients not zero", held, "held")
    records[1] = with_rows(records[1], [*records[1].rows, check])
    table = _table([*records, *(seeds_with(matched, FINE, {"worst case": 0.5}))])
    accuracy, attacked = table.to_dict("records")
    assert (attacked["measured"], attacked["ahead"]) == ("worst case of attacks, L∞ %", ahead)
    told = SECTION.readable(table)["the others"].iloc[1]
    assert told.startswith(
        "Ahead of" if ahead else "Undecided, since a sanity check of its attacks failed: matched CNN"
    )
    assert attacked["first_name"] == f"em {TIMES}3" + ("" if held else f" {UNSOUND.sign}")
    assert accuracy["first_name"] == f"em {TIMES}3"


def test_budgets_that_differ_in_another_field_are_lines_of_their_own(
    tmp_path: Path, capsules: Make, matched: Make
) -> None:
    batches = [make(mean, batch_size=batch) for batch, mean in ((32, 0.9), (64, 0.8)) for make in (capsules, matched)]
    table = SECTION.table(Material.from_records(batches, Store(tmp_path)))
    assert table["on"].str.rpartition(", ")[2].tolist() == ["batch size 32", "batch size 64"]
    assert len(SECTION.readable(table)) == 2
