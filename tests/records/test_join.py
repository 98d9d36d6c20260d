import re

import pytest

from capsbench.records.join import add_measurement, join_records, rename_sources
from capsbench.records.record import Measurement, Row
from tests.making import make_capsules, make_failed, make_record

CURVE = [{"epoch": 1, "loss": 0.5, "seconds": 1.0}]
ACCURACY = Row("accuracy", "accuracy", "test", 0.9, "fraction")
SPEED = Row("speed", "latency p50", "inference", 5, "ms")


def old(name, rows, *, loss=0.5, seconds=1.0, day="01", seed=0, **fields):
    history = [{"epoch": 1, "loss": loss, "seconds": seconds}]
    cell = make_capsules(seed=seed)
    return make_record(cell, rows, history=history, started=f"2026-01-{day}", aliases=[name], **fields)


def test_records_of_one_cell_that_trained_alike_are_one():
    records = [old("a", [ACCURACY]), old("b", [SPEED], seconds=2.0, day="02"), old("c", [SPEED], seed=1)]
    joined, conflicts = join_records(records)
    assert [(record.aliases, {*record.measures}) for record in joined] == [
        (["b", "a"], {"accuracy", "speed"}),
        (["c"], {"speed"}),
    ]
    assert conflicts == []


def test_of_a_measure_that_several_have_the_newest_stands():
    newer = ACCURACY._replace(value=0.8)
    (joined,), _ = join_records([old("b", [newer], day="02"), old("a", [ACCURACY])])
    assert joined.rows == [newer]


def test_of_trainings_that_differ_the_newest_stands_and_the_conflict_is_named():
    (joined,), (conflict,) = join_records([old("a", [SPEED], loss=0.7), old("b", [ACCURACY], day="02")])
    assert (joined.rows, joined.aliases) == ([ACCURACY], ["b"])
    assert "records/a.json" in conflict
    assert "records/b.json" in conflict


def test_a_trained_network_stands_before_a_failed_one():
    failed = make_failed(make_capsules(), aliases=["b"])
    (joined,), conflicts = join_records([failed, old("a", [ACCURACY])])
    assert (joined.status, conflicts) == ("finished", [])


def test_a_failed_measure_that_another_record_has_is_none():
    failed = old("a", [ACCURACY], failures={"speed": "no luck"}, wanted=["speed"])
    (joined,), _ = join_records([failed, old("b", [SPEED], day="02")])
    assert joined.reason == ""


def test_conditions_that_name_a_cell_name_it_by_its_identity_of_today():
    transfer = Row("transfer", "success rate", "0123456789ab", 0.3, "fraction")
    (record,) = rename_sources([make_record(make_capsules(), [transfer, ACCURACY])], {"0123456789ab": "new"})
    assert record.rows == [transfer._replace(condition="new"), ACCURACY]


def test_rows_between_networks_stand_with_their_measure():
    transfer = Row("transfer", "success rate", "one", 0.3, "fraction")
    record = make_record(make_capsules(), [ACCURACY])
    for condition in ("one", "other"):
        taken = Measurement([transfer._replace(condition=condition)], 2, {"cpu": "x"}, data="a-b")
        record = add_measurement(record, "transfer:quick", taken)
    joined = record.measures["transfer:quick"]
    assert [row.condition for row in joined.rows] == ["one", "other"]
    assert (joined.version, joined.provenance, joined.data) == (2, {"cpu": "x"}, "a-b")


def test_a_number_between_networks_that_is_taken_again_replaces_that_of_its_level_alone():
    first, other = (Row("transfer", "success rate", "one", 0.3, "fraction", level) for level in (0.1, 0.2))
    again = first._replace(value=0.4)
    record = add_measurement(make_record(make_capsules()), "transfer", Measurement([first, other]))
    assert add_measurement(record, "transfer", Measurement([again])).rows == [other, again]


@pytest.mark.parametrize(
    ("first", "second", "labels", "all_known"),
    [("a-b", "a-c", "a", True), ("a-b", "c-b", None, True), ("a-b", None, None, False), (None, None, None, False)],
)
def test_rows_of_two_data_have_a_digest_that_is_that_of_neither(first, second, labels, all_known):
    transfer = Row("transfer", "success rate", "one", 0.3, "fraction")
    record = make_record(make_capsules())
    for condition, data in (("one", first), ("other", second)):
        taken = Measurement([transfer._replace(condition=condition)], data=data)
        record = add_measurement(record, "transfer", taken)
    joined = record.measures["transfer"].data
    assert (joined is not None) == all_known
    assert joined not in ({first, second} - {None})
    if labels:
        assert joined.partition("-")[0] == labels
        assert re.fullmatch("[0-9a-f]{16}", joined.partition("-")[2])
