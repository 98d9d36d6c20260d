"""Numbers of a rule that is no more stand beside none of the rule of today."""

import capsbench
from capsbench.records.record import Row
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
