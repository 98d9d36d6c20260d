"""Tuned results in reports: one contender a search, and a study as the unit of its tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from capsbench.presenting.contenders import summary, verdicts_of
from capsbench.presenting.filter import choose_records
from capsbench.presenting.format import format_summary
from capsbench.presenting.marks import said_of
from capsbench.presenting.material import Material
from capsbench.presenting.paired import Pairs
from capsbench.presenting.tuned import describe_end, describe_tuned, group_studies, identify_contender, is_of_search
from capsbench.presenting.verdicts import Verdicts
from capsbench.records.record import TRAINING, Failure, Measurement, Record, Row
from capsbench.records.store import Store
from capsbench.records.tuning import Tuning
from capsbench.records.tuning.convergence import Convergence, Rung
from capsbench.reporting.sections.budget import groups_of
from capsbench.stats.studies import compare_tuned_accuracies

LABELS = np.zeros(200, dtype=np.int32)


def tuned(make, accuracy: float, study: int, place: int, rate: float, **search) -> Record:
    """A result of a study: a network with its own learning rate, found by a search that started from 0.003."""
    record = make(accuracy, learning_rate=rate, seed=place)
    start = replace(record, cell=record.cell.model_copy(update={"learning_rate": 0.003}))
    facts = dict(seed=0, studies=3, trials=5, space={"learning_rate": "0.001..0.1"}, start={"learning_rate": 0.003})
    return replace(record, tuning=Tuning(start.cell.contender, **{**facts, **search}, study=study, trial=0))


@pytest.fixture
def records(capsules, matched) -> list[Record]:
    """Three studies of two seeds each, of a capsule network and its CNN; each study has its own learning rate."""
    rates = [0.01, 0.02, 0.03]
    networks = [
        tuned(capsules, 0.90 + 0.01 * study + 0.002 * seed, study, 2 * study + seed, rates[study])
        for study in range(3)
        for seed in range(2)
    ]
    cnns = [
        tuned(matched, 0.80 + 0.02 * study + 0.002 * seed, study, 2 * study + seed, 10 * rates[study])
        for study in range(3)
        for seed in range(2)
    ]
    return [*networks, *cnns]


def test_the_winners_of_a_search_are_one_contender(records) -> None:
    grouped = group_studies(records)
    assert len({record.cell.contender for record in grouped.results}) == 2
    assert sorted(record.cell.seed for record in grouped.results) == [0, 0, 1, 1, 2, 2]
    assert {record.cell.contender for record in grouped.networks} == {
        record.cell.contender for record in grouped.results
    }
    assert {*grouped.origins.values()} == {record.cell.id for record in records}


def test_no_network_has_the_identity_of_a_study(records) -> None:
    grouped = group_studies(records)
    networks = [record.cell.id for record in grouped.networks]
    assert len({*networks, *grouped.members}) == len(networks) + len(grouped.members) == 12 + 6
    assert sorted(name for names in grouped.members.values() for name in names) == sorted(networks)


def test_a_study_has_the_mean_of_its_seeds(records) -> None:
    table = summary(group_studies(records).results)
    assert table["accuracy_percent"].tolist() == pytest.approx([91.1, 82.1])
    assert table["n"].tolist() == [3, 3]
    assert all("tuned (15 trials in 3 studies)" in label for label in table["label"])


def test_a_tuned_network_is_compared_with_its_tuned_cnn(records) -> None:
    table = summary(group_studies(records).results)
    assert table["difference_points.matched"][0] == pytest.approx(9.0)
    assert table["difference_n.matched"][0] == 3


def test_the_test_is_over_studies_and_images(records) -> None:
    grouped = group_studies(records)
    accuracy = {
        record.cell.id: next(row.value for row in record.rows if row[:3] == ("accuracy", "accuracy", "test"))
        for record in grouped.networks
    }

    def kept(measure: str, cell: str) -> dict[str, np.ndarray]:
        right = np.random.default_rng(int(cell, 16)).random(len(LABELS)) < accuracy[cell]
        return {"label": LABELS, "prediction": np.where(right, 0, 1).astype(np.int32)}

    verdicts = verdicts_of(grouped.results, Pairs(kept, grouped.members))
    one, other = (record.cell.contender for record in (grouped.results[0], grouped.results[-1]))
    correct = [
        np.array(
            [
                [kept("accuracy", network)["prediction"] == 0 for network in grouped.members[record.cell.id]]
                for record in grouped.results
                if record.cell.contender == contender
            ]
        )
        for contender in (one, other)
    ]
    assert verdicts.difference(one, other) == compare_tuned_accuracies(*correct)


def test_a_tuned_contender_is_not_compared_with_one_that_is_not(records, matched, capsules) -> None:
    untuned = [capsules(0.9, learning_rate=0.003, seed=seed) for seed in range(3)]
    grouped = group_studies([*records, *untuned])
    table = summary(grouped.results)
    labels = table["label"].tolist()
    assert sum("tuned" in label for label in labels) == 2
    verdicts = verdicts_of(grouped.results)
    tuned_network = grouped.results[-1].cell.contender
    assert verdicts.difference(tuned_network, untuned[0].cell.contender) is None
    assert table.set_index("contender")["difference_n.matched"].isna()[untuned[0].cell.contender]


def compare_searches(capsules, matched, **search) -> tuple[Verdicts, str, str]:
    """Three studies of a network, and three of its CNN that were found by another search."""
    networks = [tuned(capsules, 0.9 + 0.01 * study, study, study, 0.01) for study in range(3)]
    cnns = [tuned(matched, 0.8 + 0.01 * study, study, study, 0.01, **search) for study in range(3)]
    grouped = group_studies([*networks, *cnns])
    return verdicts_of(grouped.results), identify_contender(networks[0]), identify_contender(cnns[0])


def test_where_the_search_of_a_field_of_the_budget_started_does_not_matter(capsules, matched, tmp_path) -> None:
    space = {"batch_size": "32,64,128", "learning_rate": "0.001..0.1"}
    records = [
        tuned(make, accuracy, study, study, 0.01, space=space, start={"batch_size": batch, "learning_rate": 0.003})
        for make, accuracy, batch in ((capsules, 0.9, 128), (matched, 0.8, 16))
        for study in range(3)
    ]
    material = Material.from_records(records, Store(tmp_path))
    assert material.summary["difference_n.matched"].max() == 3
    assert len(groups_of(material)) == 1


def test_one_contender_from_two_starts_is_two_searches(capsules) -> None:
    one, other = (
        tuned(capsules, 0.9, 0, 0, 0.01, start={"batch_size": batch, "learning_rate": 0.003}) for batch in (16, 128)
    )
    assert identify_contender(one) != identify_contender(other)


@pytest.mark.parametrize("other", [{"seed": 1}, {"space": {"learning_rate": "0.001..1"}}])
def test_of_two_searches_each_network_is_compared_with_the_cnn_of_its_own(capsules, matched, other) -> None:
    records = [
        tuned(make, accuracy, study, 3 * place + study, 0.01 + 0.01 * place, **search)
        for place, search in enumerate(({}, other))
        for make, accuracy in ((capsules, 0.9), (matched, 0.8 - 0.1 * place))
        for study in range(3)
    ]
    table = summary(group_studies(records).results)
    differences = table.loc[table["network"] != "matched", "difference_points.matched"]
    assert sorted(differences) == pytest.approx([10.0, 20.0])


def test_searches_with_as_many_trials_in_other_studies_are_not_compared(capsules, matched) -> None:
    verdicts, network, cnn = compare_searches(capsules, matched, studies=5, trials=3)
    assert verdicts.difference(network, cnn) is None


@pytest.mark.parametrize(
    ("space", "facts"),
    [
        ({"learning_rate": "0.001..0.1"}, ()),
        ({"learning_rate": "0.001..0.1", "network.width": "1,2"}, ()),  # which the network does not have
        ({"network.width": "0.001..0.1", "learning_rate": "as network.width"}, ()),
        ({"network.width": "0.001..1", "learning_rate": "as network.width"}, ("space",)),
        ({"learning_rate": "0.001..1"}, ("space",)),
        ({"learning_rate": "0.001..0.1", "batch_size": "32,64"}, ("space",)),
        ({}, ("space",)),
    ],
)
def test_a_difference_says_that_a_setting_was_tuned_over_another_space(capsules, matched, space, facts) -> None:
    verdicts, network, cnn = compare_searches(capsules, matched, space=space)
    assert verdicts.unlike(network, cnn) == facts
    assert verdicts.unlike(cnn, network) == facts


def test_a_single_study_is_not_tested(capsules, matched) -> None:
    records = [tuned(make, 0.9, 0, seed, 0.01, studies=1) for make in (capsules, matched) for seed in range(5)]
    grouped = group_studies(records)
    table = summary(grouped.results)
    assert np.isnan(table["difference_p.matched"][0])


def test_searches_with_other_seeds_or_spaces_are_other_contenders(capsules) -> None:
    one, *others = [
        identify_contender(tuned(capsules, 0.9, 0, 0, 0.01, **search))
        for search in ({}, {"seed": 1}, {"studies": 4}, {"trials": 6}, {"space": {"learning_rate": "0.001..1"}})
    ]
    assert len({one, *others}) == 5


def test_a_study_without_a_result_counts_as_one_that_failed(records, tmp_path) -> None:
    whole = [record for record in records if record.tuning.study != 1 or record.cell.has_routing]
    table = Material.from_records(whole, Store(tmp_path)).summary.set_index("network")
    assert table.loc["matched", ["n", "seeds"]].tolist() == [2, 3]
    assert said_of(table)["matched"].startswith("(2 of 3 studies)")
    assert said_of(table).drop("matched").map(lambda said: "of" not in said).all()


@pytest.mark.parametrize(
    ("trial", "is_of"),
    [
        ({"study": 2, "trial": 4}, True),
        ({"studies": 3, "trials": 8, "study": 1, "trial": 6}, True),  # trial 14 of a search of 24
        ({"studies": 3, "trials": 8, "study": 1, "trial": 7}, False),  # trial 15
        ({"studies": 1, "trials": 15, "study": 0, "trial": 14}, True),
        ({"seed": 1}, False),
        ({"space": {"learning_rate": "0.001..1"}}, False),
    ],
)
def test_searches_with_one_seed_share_their_first_trials(records, trial, is_of) -> None:
    search = records[0].tuning  # of 3 studies of 5 trials
    found = replace(records[0], role="trial", tuning=replace(search, **trial))
    assert is_of_search(found, search) is is_of


def test_trials_of_a_sampler_that_learns_depend_on_how_they_are_divided(records) -> None:
    search = replace(records[0].tuning, sampler="tpe")
    assert is_of_search(replace(records[0], tuning=search), search)
    assert not is_of_search(replace(records[0], tuning=replace(search, studies=1, trials=15)), search)


def test_a_failed_seed_leaves_the_others_of_its_study(records) -> None:
    broken = replace(records[0], training=None, failures={TRAINING: Failure("it became nan")}, measures={})
    grouped = group_studies([broken, *records[1:]])
    assert summary(grouped.results)["accuracy_percent"][0] == pytest.approx((90.2 + 91.1 + 92.1) / 3)


def test_a_tuned_contender_is_named_by_where_its_search_started(records) -> None:
    cell = describe_tuned(records[0].cell, records[0].tuning)
    assert cell.learning_rate == 0.003
    assert cell.contender == describe_tuned(records[5].cell, records[5].tuning).contender


def test_conditions_choose_a_tuned_network_with_its_tuned_cnn(records) -> None:
    assert choose_records(records, ["routing=em"]) == records
    assert choose_records(records, ["network=matched"]) == records[6:]


def test_an_earlier_winner_of_a_study_does_not_count(records) -> None:
    validated = [replace(record, tuning=replace(record.tuning, validation=0.9)) for record in records]
    first = validated[0]
    earlier = replace(
        first,
        cell=first.cell.model_copy(update={"learning_rate": 0.05}),
        tuning=replace(first.tuning, validation=0.5, trial=3),
    )
    one, other = group_studies(validated), group_studies([earlier, *validated])
    assert [record.cell for record in other.results] == [record.cell for record in one.results]
    assert len(other.networks) == len(one.networks)


def searched(record: Record, epochs: int, *, seeds: tuple[int, ...] = (0, 1), rungs: int | None = None) -> Record:
    """The record as a result whose epochs were searched for, from 10 on."""
    start = record.cell.model_copy(update={"epochs": 10})
    tried = [Rung(10 * 2**rung, 0.9, 10 * 2**rung < epochs) for rung in range(rungs or (epochs // 10).bit_length())]
    search = Convergence(start.contender, 10, 80, [*seeds], tried)
    return replace(record, cell=record.cell.model_copy(update={"epochs": epochs}), convergence=search)


def test_contenders_whose_epochs_were_searched_for_are_compared_though_they_differ(capsules, matched) -> None:
    networks = [searched(capsules(0.9 + 0.01 * seed, seed=seed), 40) for seed in range(3)]
    cnns = [searched(matched(0.8 + 0.01 * seed, seed=seed), 20) for seed in range(3)]
    grouped = group_studies([*networks, *cnns])
    assert {record.cell.epochs for record in grouped.results} == {10}
    assert {*grouped.origins.values()} == {record.cell.id for record in [*networks, *cnns]}
    assert grouped.members == {}
    table = summary(grouped.results)
    assert table["n"].tolist() == [3, 3]
    assert table["difference_points.matched"][0] == pytest.approx(10.0)
    assert table["difference_n.matched"][0] == 3
    assert all("auto epochs" in label for label in table["label"])


def test_a_contender_with_fixed_epochs_is_not_compared_with_one_of_a_search(capsules, matched) -> None:
    networks = [searched(capsules(0.9, seed=seed), 10) for seed in range(3)]
    fixed = [matched(0.8, seed=seed) for seed in range(3)]
    grouped = group_studies([*networks, *fixed])
    assert summary(grouped.results).get("difference_points.matched") is None
    verdicts = verdicts_of(grouped.results)
    one, other = (records[0].cell.contender for records in (grouped.results[3:], grouped.results[:3]))
    assert verdicts.difference(one, other) is None
    assert not verdicts.share_search(one, other)


def test_searches_with_other_trials_are_other_contenders(capsules) -> None:
    one, same, other = (
        identify_contender(searched(capsules(0.9, seed=seed), epochs, seeds=seeds))
        for seed, epochs, seeds in ((0, 20, (0, 1)), (1, 20, (1, 0)), (0, 20, (0, 1, 2)))
    )
    assert one == same != other


def test_results_of_an_earlier_search_that_tried_less_do_not_count(capsules) -> None:
    earlier, later = searched(capsules(0.5), 10), searched(capsules(0.9), 20)
    grouped = group_studies([earlier, later])
    assert [grouped.origins[record.cell.id] for record in grouped.results] == [later.cell.id]


def test_rows_between_networks_follow_their_names(capsules) -> None:
    network = searched(capsules(0.9), 20)
    rows = [Row("transfer", "accuracy", network.cell.id, 0.5, "fraction")]
    network = replace(network, measures={**network.measures, "transfer": Measurement(rows)})
    (result,) = group_studies([network]).results
    assert [row.condition for row in result.measures["transfer"].rows] == [result.cell.id]


def test_studies_with_other_epochs_are_one_tuned_contender(records) -> None:
    longer = [searched(record, 20 if record.tuning.study else 10) for record in records]
    grouped = group_studies(longer)
    table = summary(grouped.results)
    assert table["n"].tolist() == [3, 3]
    assert table["difference_n.matched"][0] == 3
    assert all("tuned (15 trials in 3 studies)" in label and "auto epochs" in label for label in table["label"])
    verdicts = verdicts_of([*grouped.results, *group_studies(records).results])
    longer_one, shorter_one = (group_studies(some).results[0].cell.contender for some in (longer, records))
    assert verdicts.difference(longer_one, shorter_one) is None  # tuned alike, but with another budget of epochs


@pytest.mark.parametrize(
    ("rungs", "words"),
    [
        ([Rung(10, 0.9, True), Rung(20, 0.9, False)], "no longer improving"),
        ([Rung(10, 0.9, True)], "still improving at the ceiling"),
        ([Rung(10, 0.9, None)], "not known whether still improving at the ceiling"),
        ([Rung(10, 0.9, True), Rung(20)], "still improving, but no training with 20 epochs succeeded"),
        ([Rung(10)], "no trial could be trained"),
    ],
)
def test_the_end_of_a_search_is_spelled(rungs, words) -> None:
    assert describe_end(Convergence("0123456789ab", 10, 80, [0], rungs)) == words


def test_a_difference_that_is_not_tested_counts_studies(records):
    two_studies = [record for record in records if record.tuning.study < 2]
    (difference,) = filter(None, format_summary(summary(group_studies(two_studies).results))["vs matched"])
    assert difference.endswith("(not tested, 2 studies)")


def test_a_column_says_how_settings_were_found(records, capsules):
    untuned = [capsules(0.9, seed=seed) for seed in range(3)]
    table = format_summary(summary([*group_studies(records).results, *untuned]))
    assert sorted(table["search"]) == ["", "tuned (15 trials in 3 studies)", "tuned (15 trials in 3 studies)"]
    assert not any(name.startswith("tuning.") for name in table)
    assert "search" not in format_summary(summary(untuned))


def test_claims_compare_no_tuned_contender_with_an_untuned_one(records, capsules, matched, tmp_path):
    untuned = [make(0.9, seed=seed) for make in (capsules, matched) for seed in range(3)]
    one, other = groups_of(Material.from_records([*records, *untuned], Store(tmp_path)))
    assert len(one.contenders) == len(other.contenders) == 2
    assert not set(one.contenders.index) & set(other.contenders.index)
    assert {group.title.partition(", tuned ")[2] for group in (one, other)} == {"(15 trials in 3 studies)", ""}
