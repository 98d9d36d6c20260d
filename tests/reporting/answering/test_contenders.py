"""The contenders that a name fits, the one that stands for several, and its rivals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.presenting.marks import STILL_IMPROVING
from capsbench.presenting.material import Material
from capsbench.presenting.words import TIMES
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from capsbench.reporting.answering.contenders import (
    MOST_EACH,
    OTHER_BUDGET,
    SAME_BUDGET,
    SAME_SEARCH,
    Choice,
    choose_asked,
    choose_best,
    choose_rivals,
    find_fitting,
    find_validation,
    list_known,
    list_names_in_task,
)
from tests.making import with_rows

Make = Callable[..., Record]


def with_validation(record: Record, value: float | None) -> Record:
    """The record with that accuracy on the validation images, or with none."""
    rows = [row for row in record.rows if row[:3] != ("accuracy", "accuracy", "validation")]
    rows += [] if value is None else [Row("accuracy", "accuracy", "validation", value, "fraction")]
    return with_rows(record, rows)


def material_of(records: list[Record]) -> Material:
    return Material.from_records(records, Store(Path("nowhere")))


VALIDATION = {1: 0.6, 2: 0.9, 3: 0.8}
TESTED = {1: 0.99, 2: 0.7, 3: 0.95}
"""The best on the validation images is the worst on the test images."""


@pytest.fixture
def records(capsules: Make, matched: Make) -> list[Record]:
    em = [with_validation(capsules(TESTED[count], iterations=count), value) for count, value in VALIDATION.items()]
    other = {"network": "capsnet", "routing": "my.kmeans:KMeansRouting", "parameters": 99_000}
    own = [with_validation(capsules(0.8, iterations=count, **other), 0.5 + count / 10) for count in (1, 2)]
    return [*em, *own, matched(), matched(to=99_000), matched(0.9, network="resnet", options={}, parameters=50_000)]


def labels(material: Material, contenders: set[str] | list[str]) -> list[str]:
    names = dict(zip(material.summary["contender"], material.summary["label"], strict=True))
    return sorted(names[contender].removesuffix(f" {STILL_IMPROVING.sign}") for contender in contenders)


@pytest.mark.parametrize(
    ("name", "fitting"),
    [
        ("em", [f"em {TIMES}1", f"em {TIMES}2", f"em {TIMES}3"]),
        ("EM  x2", [f"em {TIMES}2"]),
        (f"em {TIMES}2 {STILL_IMPROVING.sign}", [f"em {TIMES}2"]),
        (f"em {TIMES}2 (2 of 3 seeds)", [f"em {TIMES}2"]),
        (f"digits: em {TIMES}2", [f"em {TIMES}2"]),
        ("matrix-capsules", [f"em {TIMES}1", f"em {TIMES}2", f"em {TIMES}3"]),
        ("KMeansRouting", [f"KMeansRouting {TIMES}1", f"KMeansRouting {TIMES}2"]),
        ("my.kmeans:KMeansRouting", [f"KMeansRouting {TIMES}1", f"KMeansRouting {TIMES}2"]),
        ("matched", ["matched CNN to 28,000", "matched CNN to 99,000"]),
        ("matched CNN", ["matched CNN to 28,000", "matched CNN to 99,000"]),
        ("matched CNN to 28,000", ["matched CNN to 28,000"]),
        ("kmeans", []),
        ("", []),
    ],
)
def test_a_contender_goes_by_any_name_that_the_table_prints(records: list[Record], name: str, fitting: list[str]):
    material = material_of(records)
    assert labels(material, find_fitting(material.summary, name)) == fitting


def test_the_short_name_of_two_classes_is_ambiguous(records: list[Record], capsules: Make):
    copy = with_validation(capsules(0.8, network="capsnet", routing="copy:KMeansRouting", parameters=99_000), 0.9)
    material = material_of([*records, copy])
    with pytest.raises(UsageError) as caught:
        choose_asked(material, "KMeansRouting")
    assert (caught.value.kind, caught.value.flag) == (Kind.AMBIGUOUS, "for")
    assert caught.value.expected == ("copy:KMeansRouting", "my.kmeans:KMeansRouting")
    ((_, (choice,)),) = choose_asked(material, "my.kmeans:KMeansRouting")
    assert len(choice.among) == 2


def test_of_several_settings_the_best_by_validation_accuracy_stands_for_the_name(records: list[Record]):
    material = material_of(records)
    ((task, (choice,)),) = choose_asked(material, "em")
    assert labels(material, [choice.contender]) == [f"em {TIMES}2"]
    assert sorted(choice.validation.values()) == pytest.approx([0.6, 0.8, 0.9])
    assert len(choice.among) == 3
    assert task == material.summary["contender"].tolist()


def test_without_validation_accuracies_each_setting_has_an_answer(records: list[Record]):
    some = [with_validation(record, None) if record.cell.iterations == 1 else record for record in records]
    ((_, choices),) = choose_asked(material_of(some), "em")
    assert [choice.among for choice in choices] == [[choice.contender] for choice in choices]
    assert len(choices) == 3


def test_there_are_not_more_answers_than_anyone_reads(capsules: Make):
    records = [with_validation(capsules(iterations=count), None) for count in range(1, 9)]
    ((_, choices),) = choose_asked(material_of(records), "em")
    assert len(choices) == MOST_EACH


def test_an_unknown_name_is_told_with_the_known_ones(records: list[Record]):
    with pytest.raises(UsageError) as caught:
        choose_asked(material_of(records), "emm")
    error = caught.value
    assert (error.kind, error.flag, error.value) == (Kind.UNKNOWN, "for", "emm")
    assert {"em", "KMeansRouting", "matched", f"em {TIMES}1", "matched CNN to 28,000"} <= {*error.expected}


def test_each_data_set_and_size_has_an_answer(capsules: Make):
    records = [capsules(dataset=name, size=size) for name in ("digits", "mnist") for size in ("tiny", "small")]
    tasks = choose_asked(material_of(records), "em")
    assert [len(task) for task, _ in tasks] == [1, 1, 1, 1]


def test_a_label_on_one_data_set_is_a_routing_on_the_other(capsules: Make, matched: Make):
    material = material_of([matched(), matched(network="resnet"), matched(network="resnet", dataset="mnist", epochs=3)])
    assert len(find_fitting(material.summary, "resnet")) == 2


def test_the_first_of_equals_is_the_best():
    assert choose_best(["a", "b", "c"], {"a": 0.5, "b": 0.7, "c": 0.7}).contender == "b"
    assert choose_best(["a", "b"], {"a": 0.5}) == Choice("a", ["a", "b"], {})


def test_rivals_are_the_own_baseline_and_one_setting_of_each_other_routing(records: list[Record]):
    material = material_of(records)
    ((task, (choice,)),) = choose_asked(material, "em")
    validation = find_validation(material)
    rivals = choose_rivals(material.summary, task, choice, validation, lambda one, other: SAME_SEARCH)
    names = dict(zip(material.summary["contender"], material.summary["label"], strict=True))
    assert [names[rival.contender] for rival in rivals] == [
        "matched CNN to 28,000",
        "resnet",
        f"KMeansRouting {TIMES}2",
    ]
    assert [len(rival.among) for rival in rivals] == [1, 1, 2]


def test_a_rival_has_the_contenders_budget_where_one_of_its_settings_has(records: list[Record]):
    material = material_of(records)
    ((task, (choice,)),) = choose_asked(material, "em")
    names = dict(zip(material.summary["contender"], material.summary["label"], strict=True))

    def compare_budgets(one: str, other: str) -> int:
        return SAME_BUDGET if names[other] in (f"KMeansRouting {TIMES}1", "resnet") else OTHER_BUDGET

    rivals = choose_rivals(material.summary, task, choice, find_validation(material), compare_budgets)
    assert [names[rival.contender] for rival in rivals] == [
        "resnet",
        f"KMeansRouting {TIMES}1",
        "matched CNN to 28,000",
    ]


def test_other_settings_are_rivals_of_one_that_is_named_alone(records: list[Record]):
    material = material_of(records)
    ((task, (choice,)),) = choose_asked(material, "em x1")
    rivals = choose_rivals(material.summary, task, choice, find_validation(material), lambda one, other: SAME_SEARCH)
    assert labels(material, [rivals[0].contender]) == [f"em {TIMES}2"]
    assert len(rivals[0].among) == 2


def test_where_nobody_else_is_other_settings_are_rivals(records: list[Record]):
    material = material_of(records[:3])
    ((task, (choice,)),) = choose_asked(material, "em")
    (rival,) = choose_rivals(material.summary, task, choice, find_validation(material), lambda one, other: SAME_SEARCH)
    assert labels(material, [rival.contender]) == [f"em {TIMES}3"]


def test_names_lack_what_all_contenders_of_a_task_share(capsules: Make):
    sizes = [("tiny", None), ("small", None), ("small", 500)]
    records = [capsules(size=size, train_size=images, learning_rate=rate) for size, images in sizes for rate in (1, 2)]
    summary = material_of(records).summary
    assert all("images" in label for label in summary["label"])
    names = list_names_in_task(summary)
    assert sorted({*names}) == [f"em {TIMES}3, learning rate 1", f"em {TIMES}3, learning rate 2"]


def test_known_names_are_short(capsules: Make):
    summary = material_of([capsules(learning_rate=rate) for rate in (0.1, 0.2)]).summary
    assert list_known(summary) == ["em", f"em {TIMES}3"]


def test_a_validation_accuracy_is_the_mean_over_seeds(capsules: Make):
    records = [with_validation(capsules(seed=seed), value) for seed, value in enumerate((0.5, 0.7))]
    assert find_validation(material_of(records)) == {records[0].cell.contender: pytest.approx(0.6)}
    assert find_validation(replace(material_of([with_validation(capsules(), None)]))) == {}
