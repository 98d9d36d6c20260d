"""The specs of measures on record, and numbers of a rule that is no more: they stand beside none of the rule of today."""

from dataclasses import replace

import capsbench
from capsbench.measures.spec import MeasureSpec, Metric, built_in_specs
from capsbench.records.record import Measurement, Row
from capsbench.records.specs import MOST_COLUMNS, find_unrepeatable, make_default_spec, specs_of
from capsbench.records.store import Store
from tests.making import make_capsules, make_record

TIME = Row("speed", "latency p50", "inference", 2.0, "ms")
OLD = [Row("speed", "flops", "inference", 5.0, "FLOP/image"), Row("speed", "parameters", "inference", 5, "parameters")]
NEW = Row("cost", "flops", "inference", 3.0, "FLOP/image")


def test_rows_of_the_old_rule_are_left_out_of_records_and_tables(tmp_path):
    Store(tmp_path).write(make_record(make_capsules(), [*OLD, TIME, NEW]))
    (record,) = Store(tmp_path).records()[0]
    assert record.rows == [TIME, NEW]
    assert capsbench.load(tmp_path)[["measure", "metric"]].values.tolist() == [
        ["speed", "latency p50"],
        ["cost", "flops"],
    ]


def test_a_measure_that_declares_nothing_has_its_first_numbers_without_a_level_as_columns():
    def draw_row(metric, condition, level=None, unit="fraction"):
        return Row("own", metric, condition, 0.5, unit, level)

    rows = [draw_row("hits", "left"), draw_row("misses", "left", unit="images"), draw_row("hits", "right")]
    rows += [draw_row("hits", "left"), draw_row("hits", "turned", 0.5), draw_row("curve", "turned", 0.5)]
    assert make_default_spec("own", rows) == MeasureSpec(
        "own", (Metric("hits", "fraction", columns=("left", "right")), Metric("misses", "images", columns=("left",)))
    )
    many = [draw_row("hits", str(number)) for number in range(MOST_COLUMNS - 1)]
    spec = make_default_spec("own", [*many, draw_row("misses", "first"), draw_row("misses", "second")])
    assert [len(metric.columns) for metric in spec.metrics] == [MOST_COLUMNS - 1, 1]


def declare(taken, **fields):
    """A record with a measurement of a user's own measure, with the spec that it declares."""
    spec = MeasureSpec("own", (Metric("hits", "fraction", columns=("test",), **fields),))
    measurement = Measurement([Row("own", "hits", "test", 0.5, "fraction")], taken=taken, declaration=spec)
    return replace(make_record(make_capsules()), measures={"mine:Own": measurement}), spec


def test_a_users_own_measure_has_the_spec_that_its_latest_measurement_declares():
    earlier, later = declare("2026-01-01", repeatable=False), declare("2026-01-02", higher_is_better=True)
    for records in ([earlier[0], later[0]], [later[0], earlier[0]]):
        assert specs_of(records) == {**built_in_specs(), "own": later[1]}
    (row,) = earlier[0].rows
    undeclared = replace(earlier[0], measures={"mine:Own": Measurement([row])})
    assert specs_of([undeclared])["own"] == make_default_spec("own", [row])
    assert specs_of([]) == built_in_specs()


def test_a_spec_without_columns_has_those_of_one_that_declares_nothing():
    rows = [Row("mine", "m", "c", 1.0, "u"), Row("mine", "m", "d", 1.0, "u"), Row("mine", "other", "c", 1.0, "u")]

    def read_columns(*metrics):
        taken = Measurement(rows, declaration=MeasureSpec("mine", metrics))
        record = replace(make_record(make_capsules()), measures={"my.module:Mine": taken})
        spec = specs_of([record])["mine"]
        return {metric.name: metric.columns for metric in spec.metrics}

    assert read_columns() == {"m": ("c", "d"), "other": ("c",)}
    assert read_columns(Metric("m", "u")) == {"m": ("c", "d")}
    assert read_columns(Metric("m", "u"), Metric("other", "u", columns=("c",))) == {"m": (), "other": ("c",)}


def test_what_is_declared_as_not_repeatable_is_unrepeatable_beside_the_times_of_the_training():
    _, spec = declare("2026-01-01", repeatable=False)
    times = {("training", "start"), ("training", "duration")}
    assert find_unrepeatable({}) == times
    assert find_unrepeatable({"own": spec}) == {*times, ("own", "hits")}
