"""One verdict on a pair, whoever asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from capsbench.presenting.contenders import verdicts_of
from capsbench.presenting.format import format_summary
from capsbench.presenting.marks import UNLIKE
from capsbench.presenting.material import Material
from capsbench.presenting.verdicts import PRIMARY, SECOND
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from capsbench.reporting.sections import winners
from capsbench.stats.verdicts import Outcome
from tests.making import with_rows

Make = Callable[..., Record]

BASELINE, ONE, THREE = (0.90, 0.91, 0.90), (0.92, 0.93, 0.925), (0.95, 0.96, 0.957)


@pytest.fixture
def records(capsules: Make, matched: Make) -> list[Record]:
    """EM routing with one and three iterations, and the CNN of both."""
    capsule = [
        capsules(value, iterations=n, seed=seed) for n, of in ((1, ONE), (3, THREE)) for seed, value in enumerate(of)
    ]
    return [*capsule, *(matched(value, seed=seed) for seed, value in enumerate(BASELINE))]


def from_elsewhere(record: Record, **facts: Any) -> Record:
    """The record of a training with other facts."""
    assert record.training is not None
    return replace(record, training=replace(record.training, provenance={**record.provenance, **facts}))


def of(records: list[Record]) -> Material:
    return Material.from_records(records, Store(Path("nowhere")))


def test_the_headline_and_who_won_have_one_verdict_on_a_pair(records: list[Record]) -> None:
    material = of(records)
    _, three, cnn = material.summary["contender"]
    headline = material.summary.set_index("contender").loc[three]
    rows = winners.SECTION.table(material).set_index("other")
    assert rows.loc[cnn, ["first", "family"]].tolist() == [three, PRIMARY]
    assert rows.loc[cnn, ["behind_by", "behind_by_ci95", "p", "verdict"]].tolist() == [
        headline[f"difference_{name}.matched"] for name in ("points", "ci95", "p", "verdict")
    ]
    assert rows.loc[material.summary["contender"][0], "family"] == SECOND


def test_what_is_no_baseline_is_of_the_second_family(records: list[Record]) -> None:
    verdicts = of(records).verdicts
    assert verdicts.comparisons == 1  # of 3 pairs, 2 are in the primary family
    one, three, _ = of(records).summary["contender"]
    found, other = verdicts.of_accuracy(one, three), verdicts.of_accuracy(three, one)
    assert found is not None
    assert other is not None
    assert (found.difference.mean, found.level) == (-other.difference.mean, 0.05)


def test_the_second_family_is_all_that_could_be_compared(records: list[Record]) -> None:
    affine = [
        with_rows(record, [*record.rows, Row("affine", "area under the curve", "rotation", 0.5, "fraction")])
        for record in records
    ]
    budgets = [replace(each, cell=each.cell.model_copy(update={"epochs": 99})) for each in affine]
    # 3 pairs by accuracy and by warps, and 3 contenders alone under warps; of the pairs by accuracy 2 are primary
    assert of(affine).verdicts.comparisons == 3 + 3 + 3 - 2
    assert of([*affine, *budgets]).verdicts.comparisons == 2 * (3 + 3 + 3 - 2)
    # a claim names the accuracy of CapsNet on MultiMNIST, so each of the 3 contenders may be judged by it alone
    multimnist = [replace(record, cell=record.cell.model_copy(update={"dataset": "multimnist"})) for record in affine]
    assert of(multimnist).verdicts.comparisons == 3 + 3 + 3 + 3 - 2


@pytest.mark.parametrize(
    ("facts", "unlike"),
    [
        ({"commit": "b" * 40}, "commit"),
        ({"torch": "1.0"}, "torch"),
        ({"cpu": "another"}, "machine"),
        ({"gpu": "one"}, ""),
    ],
)
def test_a_pair_that_was_trained_elsewhere_is_marked(records: list[Record], facts: dict[str, str], unlike: str) -> None:
    """In one seed of three; a GPU is no matter to what was trained on the CPU."""
    moved = [from_elsewhere(records[3], **facts) if record is records[3] else record for record in records]
    material = of(moved)
    one, three, cnn = material.summary["contender"]
    assert material.summary["difference_unlike.matched"].tolist()[:2] == ["", unlike]
    assert material.verdicts.unlike(one, cnn) == ()
    assert material.verdicts.unlike(three, cnn) == tuple(filter(None, [unlike]))
    signs = [UNLIKE.sign in shown for shown in format_summary(material.summary)["vs matched"]]
    assert signs == [False, bool(unlike), False]
    rows = winners.SECTION.table(material).set_index("other")
    assert rows.loc[cnn, "unlike"] == unlike


@pytest.mark.parametrize(("data", "unlike"), [("aa-bb", ()), ("cc-bb", ("data",)), (None, ())])
def test_a_pair_of_other_data_is_marked_where_both_are_known(
    records: list[Record], data: str | None, unlike: tuple[str, ...]
) -> None:
    def of_data(record: Record, digest: str | None) -> Record:
        assert record.training is not None
        return replace(record, training=replace(record.training, data=digest))

    material = of([of_data(record, data if record is records[3] else "aa-bb") for record in records])
    one, three, cnn = material.summary["contender"]
    assert (material.verdicts.unlike(one, cnn), material.verdicts.unlike(three, cnn)) == ((), unlike)


@pytest.mark.parametrize("seeds", [1, 2])
def test_of_fewer_than_three_seeds_no_pair_is_tested(records: list[Record], seeds: int) -> None:
    few = [record for record in records if record.cell.seed < seeds]
    table = of(few).summary
    assert table["difference_verdict.matched"].tolist()[:2] == [Outcome.NOT_TESTED] * 2
    assert table["difference_seeds_needed.matched"].isna().all()
    assert table["difference_p.matched"].isna().all()


def test_a_difference_that_is_not_significant_says_how_many_seeds_would_show_it(capsules: Make, matched: Make) -> None:
    ours, theirs = (0.90, 0.93, 0.91), (0.90, 0.91, 0.90)
    records = [
        make(value, seed=seed) for make, of in ((capsules, ours), (matched, theirs)) for seed, value in enumerate(of)
    ]
    table = of(records).summary
    assert table["difference_verdict.matched"].tolist()[0] == Outcome.NOT_SIGNIFICANT
    assert format_summary(table)["seeds needed"].tolist() == [str(table["difference_seeds_needed.matched"].iloc[0]), ""]
    assert table["difference_seeds_needed.matched"].iloc[0] == 12


def test_contenders_without_a_common_seed_have_no_verdict(capsules: Make) -> None:
    records = [capsules(seed=0, iterations=1), capsules(seed=1, iterations=3)]
    assert verdicts_of(records).of_accuracy(*(record.cell.contender for record in records)) is None
