"""The table of where the time of a cell goes is made of what is on record, and of nothing else."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from capsbench.presenting.material import Material, NoDataError
from capsbench.records.record import Measurement, Row
from capsbench.records.store import Store
from capsbench.reporting.sections.times import DASH, SECTION
from tests.making import make_capsules, make_record


def make(seed=0, iterations=3, start=None, seconds=12.0, **measures):
    rows = [] if start is None else [Row("training", "start", "network", start, "s")]
    record = make_record(make_capsules(seed=seed, iterations=iterations), rows, seconds=seconds)
    taken = {spec: Measurement(seconds=value) for spec, value in measures.items()}
    return replace(record, measures={**record.measures, **taken})


def make_table(*records, tmp_path=Path()):
    return SECTION.table(Material.from_records([*records], Store(tmp_path)))


def test_each_part_is_the_mean_over_seeds_and_the_total_their_sum():
    table = make_table(
        make(0, start=0.5, seconds=10.0, accuracy=1.0, **{"adversarial:quick": 20.0}),
        make(1, start=1.5, seconds=14.0, accuracy=2.0, **{"adversarial:quick": 30.0}),
    )
    (row,) = table.to_dict("records")
    assert (row["n"], row["seeds"]) == (2, 2)
    parts = {name: value for name, value in row.items() if name.endswith(" s")}
    assert parts == {"total s": 39.5, "start s": 1.0, "train s": 12.0, "accuracy s": 1.5, "adversarial s": 25.0}


def test_what_is_not_on_record_is_a_dash():
    table = make_table(
        make(iterations=1, seconds=10.0, accuracy=1.0),
        make(iterations=3, start=0.25, seconds=1234.5, affine=None),
    )
    assert "affine s" not in table
    strings = SECTION.readable(table)
    assert [*strings] == [strings.columns[0], "n", "total (s)", "start (s)", "train (s)", "accuracy (s)"]
    assert strings.iloc[0, 1:].to_list() == ["1", "11", DASH, "10", "1"]
    assert strings.iloc[1, 1:].to_list() == ["1", "1,235", "0.25", "1,234", DASH]


def test_a_part_that_no_record_has_is_a_column_for_programs_alone():
    table = make_table(make(seconds=10.0))  # from before starts were noted
    assert table["start s"].isna().all()
    assert [*SECTION.readable(table)][2:] == ["total (s)", "train (s)"]


def test_there_is_no_table_without_a_duration():
    with pytest.raises(NoDataError):
        make_table(make(seconds=None))


def test_names_have_the_data_set_where_there_are_several():
    records = [make_record(make_capsules(dataset=name), seconds=1.0) for name in ("digits", "mnist")]
    strings = SECTION.readable(make_table(*records))
    assert pd.Series(strings.iloc[:, 0]).str.partition(":")[0].to_list() == ["digits", "mnist"]
