"""The numbers of an answer: the verdicts of the rest of the report, and what confounds them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.words import TIMES
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from capsbench.records.tuning import Tuning
from capsbench.records.tuning.convergence import Convergence, Rung
from capsbench.reporting.answering.comparisons import SAME, Result, build_table
from capsbench.reporting.sections.winners import SECTION as WINNERS
from tests.making import FINE, STUCK, counted, with_rows

Make = Callable[..., Record]

ACCURACY = "test accuracy %"
WARPS = Row("affine", "area under the curve", "rotation", 0, "fraction")
ATTACKED = Row("adversarial", "robust accuracy", "Linf, worst case", 0, "fraction", 0.05)
VIEWS = Row("viewpoint", "error", "novel", 0, "fraction")


def material_of(records: list[Record], name: str | None = "em") -> Material:
    return replace(Material.from_records(records, Store(Path("nowhere"))), asked=name)


def table_of(records: list[Record], name: str | None = "em") -> pd.DataFrame:
    return build_table(material_of(records, name))


def line_of(records: list[Record], name: str = "em", measured: str = ACCURACY) -> dict[Any, Any]:
    table = table_of(records, name)
    (line,) = table[table["measured"] == measured].to_dict("records")
    return line


def seeds_of(
    make: Make, values: tuple[float, ...] = (0.9, 0.91, 0.9), row: Row | None = None, **fields: Any
) -> list[Record]:
    """A seed for each value of the test accuracy, or of another number."""
    records = []
    for seed, value in enumerate(values):
        record = make(0.9 if row else value, seed=seed, **fields)
        records.append(with_rows(record, [*record.rows, row._replace(value=value)]) if row else record)
    return records


def test_without_a_name_there_is_no_answer(capsules: Make):
    with pytest.raises(NoDataError):
        table_of([capsules()], None)


def test_the_verdict_is_that_of_who_won(capsules: Make):
    other = {"network": "capsnet", "routing": "dynamic"}
    records = seeds_of(capsules) + seeds_of(capsules, (0.7, 0.72, 0.7), **other)
    records += seeds_of(capsules, (0.89, 0.92, 0.9), network="capsnet", routing="uniform")
    table = table_of(records).query("measured == @ACCURACY").set_index("rival_name")
    winners = WINNERS.table(material_of(records)).set_index("other_name")
    dynamic = f"dynamic {TIMES}3"
    for column, name in {"p": "p", "ci95": "behind_by_ci95", "family": "family"}.items():
        assert table.loc[dynamic, column] == winners.loc[dynamic, name]
    assert table.loc[dynamic, "result"] == Result.BETTER
    assert table.loc[dynamic, "difference"] == pytest.approx(100 * (2.71 - 2.12) / 3)
    assert table.loc[f"uniform {TIMES}3", "result"] == Result.NOT_SIGNIFICANT


def test_a_baseline_has_the_verdict_of_the_headline_table_from_either_side(capsules: Make, matched: Make):
    records = seeds_of(capsules) + seeds_of(matched, (0.7, 0.72, 0.7))
    headline = material_of(records).summary.set_index("network")
    ours, cnn = line_of(records), line_of(records, "matched")
    assert (ours["family"], cnn["family"]) == ("primary", "primary")
    assert ours["difference"] == -cnn["difference"] == headline.loc["matrix-capsules", "difference_points.matched"]
    assert ours["ci95"] == cnn["ci95"] == headline.loc["matrix-capsules", "difference_ci95.matched"]
    assert (ours["result"], cnn["result"]) == (Result.BETTER, Result.WORSE)
    assert (ours["network"], cnn["network"]) == ("", "")


def test_of_an_error_less_is_better(capsules: Make, matched: Make):
    records = seeds_of(capsules, (0.3, 0.301, 0.3), VIEWS) + seeds_of(matched, (0.1, 0.102, 0.1), VIEWS)
    line = line_of(records, measured="error on novel viewpoints %")
    assert (line["result"], line["higher_is_better"]) == (Result.WORSE, False)
    assert line["difference"] > 0


@pytest.mark.parametrize("seeds", [1, 2])
def test_of_few_seeds_nothing_is_tested(capsules: Make, matched: Make, seeds: int):
    line = line_of(seeds_of(capsules)[:seeds] + seeds_of(matched, (0.5, 0.5, 0.5))[:seeds])
    assert (line["result"], line["n"], line["value_n"]) == (Result.NOT_TESTED, seeds, seeds)
    assert math.isnan(line["p"])


def test_another_budget_is_said_and_not_tested(capsules: Make, matched: Make):
    records = seeds_of(capsules) + seeds_of(matched, (0.5, 0.51, 0.5), epochs=30, batch_size=32)
    line = line_of(records)
    assert line["budget"] == "epochs 10 against 30, batch size 64 against 32"
    assert (line["result"], line["family"]) == (Result.NOT_TESTED, "")
    assert line["difference"] == pytest.approx(40.0)
    assert math.isnan(line["ci95"])


def test_two_networks_are_said(capsules: Make):
    own = {"network": "my.networks:Deep", "routing": "dynamic"}
    assert line_of(seeds_of(capsules) + seeds_of(capsules, **own))["network"] == "Deep"
    assert line_of(seeds_of(capsules) + seeds_of(capsules, routing="dynamic"))["network"] == SAME


def test_two_commits_are_said(capsules: Make, matched: Make):
    records = seeds_of(capsules)
    for record in seeds_of(matched):
        assert record.training is not None
        training = replace(record.training, provenance={**record.training.provenance, "commit": "f00"})
        records.append(replace(record, training=training))
    assert line_of(records)["unlike"] == "commit"


def tuned(records: list[Record], search: int = 0) -> list[Record]:
    """Each seed as the winner of a study of the search with this seed."""
    return [
        replace(
            record,
            tuning=Tuning(
                record.cell.contender,
                seed=search,
                studies=3,
                trials=5,
                study=record.cell.seed,
                trial=0,
                start={"learning_rate": 0.003},
            ),
        )
        for record in records
    ]


@pytest.mark.parametrize(("row", "measured"), [(None, ACCURACY), (WARPS, "accuracy under warps, mean of families %")])
def test_a_tuned_contender_is_not_tested_against_one_that_is_not(
    capsules: Make, matched: Make, row: Row | None, measured: str
):
    cnn = seeds_of(matched, (0.5, 0.51, 0.5), row)
    line = line_of(tuned(seeds_of(capsules, row=row)) + cnn, measured=measured)
    assert (line["result"], line["tuning"]) == (Result.NOT_TESTED, "tuned with 15 trials in 3 studies against untuned")
    both = line_of(tuned(seeds_of(capsules, row=row)) + tuned(cnn), measured=measured)
    assert (both["result"], both["tuning"], both["unit_of_n"]) == (Result.BETTER, "", "study")


@pytest.mark.parametrize("rival", [{"routing": "dynamic"}, {"network": "matched", "routing": None, "iterations": None}])
def test_a_rival_is_of_the_contenders_own_search_where_one_is(capsules: Make, rival: dict[str, Any]):
    def make_rival(validation: float, **fields: Any) -> list[Record]:
        row = Row("accuracy", "accuracy", "validation", validation, "fraction")
        return [with_rows(record, [*record.rows, row]) for record in seeds_of(capsules, **rival, **fields)]

    mine = tuned(seeds_of(capsules))
    own, other = tuned(make_rival(0.7)), tuned(make_rival(0.9, learning_rate=0.02), search=1)
    untuned = make_rival(0.95, learning_rate=0.05)
    alone, beside = line_of(mine + own), line_of(mine + other + untuned + own)
    assert (beside["rival"], beside["rival_settings"], beside["tuning"]) == (alone["rival"], 1, "")
    # Where its own search has none, one with as many trials is nearer than one that is not tuned.
    assert line_of(mine + untuned + other)["tuning"] == ""
    assert line_of(mine + untuned)["tuning"].endswith("untuned")


def test_a_collapsed_contender_is_kept_out_of_what_is_withstood(capsules: Make, matched: Make):
    ours = [counted(record, **STUCK) for record in seeds_of(capsules, (1.0, 1.0, 1.0), WARPS)]
    cnn = [counted(record, **FINE) for record in seeds_of(matched, (0.5, 0.51, 0.5), WARPS)]
    line = line_of([*ours, *cnn], measured="accuracy under warps, mean of families %")
    assert (line["result"], line["contender_marks"]) == (Result.KEPT_OUT, "collapsed")
    assert math.isnan(line["p"])
    assert line_of([*ours, *cnn])["result"] == Result.WORSE


@pytest.mark.parametrize(("held", "result"), [(1.0, Result.BETTER), (0.0, Result.DOUBTFUL)])
def test_a_contender_whose_attacks_failed_a_check_is_not_better(
    capsules: Make, matched: Make, held: float, result: Result
):
    records = seeds_of(capsules, (0.9, 0.91, 0.9), ATTACKED)
    check = Row("adversarial", "sanity check", "gradients not zero", held, "held")
    records[1] = with_rows(records[1], [*records[1].rows, check])
    records += seeds_of(matched, (0.5, 0.51, 0.5), ATTACKED)
    measured = "worst case of attacks, L∞ %"
    assert line_of(records, measured=measured)["result"] == result
    worse = line_of(records, "matched", measured=measured)["result"]
    assert worse == (Result.WORSE if held else Result.DOUBTFUL)


def test_costs_are_ratios(capsules: Make, matched: Make):
    records = seeds_of(capsules, flops=3e6, step=30.0) + seeds_of(matched, flops=1e6, step=12.0)
    ratios = table_of(records).query("result == ''").set_index("measured")["ratio"]
    assert ratios.to_dict() == pytest.approx(
        {"parameters": 28_000 / 28_012, "FLOPs": 3.0, "time of a training step": 2.5, "time of inference": 2.5}
    )


@pytest.mark.parametrize("change", [{"cpu": "Another CPU"}, {"shared_machine": True}])
def test_times_of_two_machines_or_beside_other_jobs_have_no_ratio(
    capsules: Make, matched: Make, change: dict[str, Any]
):
    records = []
    for record in [*seeds_of(capsules), *seeds_of(matched)]:
        facts = {**record.provenance, **(change if record.cell.routing else {})}
        assert record.training is not None
        measures = {spec: replace(taken, provenance=facts) for spec, taken in record.measures.items()}
        training = replace(record.training, provenance=facts)
        records.append(replace(record, training=training, measures=measures))
    table = table_of(records).query("result == ''")
    assert table["measured"].tolist() == ["parameters", "FLOPs"]


def test_a_contender_alone_has_a_row_without_a_rival(capsules: Make):
    (row,) = table_of(seeds_of(capsules)).to_dict("records")
    assert (row["rival"], row["contender_name"], row["settings"]) == ("", f"em {TIMES}3", 1)
    assert row["on"] == "digits, tiny, 10 epochs, not tuned"


def test_contenders_without_a_seed_in_common_are_not_tested(capsules: Make, matched: Make):
    cnn = [matched(0.5, seed=seed) for seed in (7, 8, 9)]
    line = line_of([*seeds_of(capsules), *cnn])
    assert (line["result"], line["n"]) == (Result.NOT_TESTED, 3)
    assert "time of inference" not in table_of([*seeds_of(capsules), *cnn])["measured"].tolist()


def searched(records: list[Record], epochs: int) -> list[Record]:
    """Each record with epochs that a search found, from those of the record on."""
    return [
        replace(
            record,
            cell=record.cell.model_copy(update={"epochs": epochs}),
            convergence=Convergence(record.cell.contender, 10, 80, [0, 1], [Rung(epochs, 0.9, False)]),
        )
        for record in records
    ]


def test_epochs_that_one_rule_found_are_said_and_tested(capsules: Make, matched: Make):
    ours, cnn = searched(seeds_of(capsules), 40), searched(seeds_of(matched, (0.5, 0.51, 0.5)), 20)
    line = line_of([*ours, *cnn])
    assert (line["result"], line["budget"], line["epochs"]) == (Result.BETTER, "", "40 against 20")
    assert line["on"] == "digits, tiny, auto epochs from 10, not tuned"


def test_fixed_epochs_are_another_budget_than_those_of_a_search(capsules: Make, matched: Make):
    line = line_of(searched(seeds_of(capsules), 40) + seeds_of(matched, (0.5, 0.51, 0.5)))
    assert (line["result"], line["budget"]) == (Result.NOT_TESTED, "epochs auto from 10 against 10")
    assert (line["tuning"], line["epochs"]) == ("", "")
