"""What a measure of one's own has to give."""

import numpy as np
import pytest
import torch

from capsbench.errors import TrainingFailed
from capsbench.measures import Contest, MeasureSpec, Metric
from capsbench.measures.contract import check_rows
from capsbench.records.record import Row


def row(**fields):
    return Row(**{"measure": "mine", "metric": "m", "condition": "c", "value": 1.0, "unit": "u", **fields})


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (None, "NoneType"),
        (row(), "Row"),
        ([("mine", "m", "c", 1.0, "u")], "tuple"),
        ([row(), 3.0], "float"),
        ([row(value=torch.tensor(1.0))], "Tensor"),
        ([row(value="1")], "str"),
        ([row(value=None)], "NoneType"),
        ([row(level="low")], "str"),
        ([row(value=float("nan"))], "nan"),
        ([row(level=float("inf"))], "inf"),
        ([row(value=1e31)], "1e\\+31"),
        ([row(value=10**400)], "an integer"),
        ([row(level=-1e308)], "1e\\+308"),
        ([row(condition=3)], "condition"),
        ([row(unit=None)], "unit"),
        ([row(metric="m" * 1001)], "1001"),
        ([row(condition="c" * 5000)], "5000"),
        ([row(unit="\udcff")], "udcff"),
        ([row(measure="\ud800")], "ud800"),
        ([row(measure="accuracy")], "accuracy"),
        ([row(measure="training")], "training"),
        ([row(), row(value=2.0)], "twice"),
    ],
)
def test_what_are_no_rows_is_refused(rows, named):
    with pytest.raises(TrainingFailed, match=named):
        check_rows("my.module:Mine", rows)


def test_numbers_become_pythons_own():
    given = [row(value=np.float32(0.5), level=np.int64(3)), row(value=7, metric="n"), row(value=np.float64(2))]
    found = check_rows("my.module:Mine", given)
    assert found == given
    assert [type(each.value) for each in found] == [float, int, np.float64]
    assert type(found[0].level) is float


def test_a_measure_gives_rows_of_its_own_name():
    assert check_rows("accuracy", [row(measure="accuracy")])[0].measure == "accuracy"
    assert check_rows("accuracy:full", []) == []


@pytest.mark.parametrize("value", [1.7, -0.1, np.float32(2)])
def test_a_share_lies_between_0_and_1(value):
    with pytest.raises(TrainingFailed, match="outside"):
        check_rows("accuracy", [row(measure="accuracy", value=value, unit="fraction")])
    assert check_rows("my.module:Mine", [row(value=value, unit="fraction")])[0].value == value


def test_the_conditions_of_a_measure_between_networks_begin_with_the_source():
    rows = [row(condition="0123456789ab"), row(condition="0123456789ab, worst")]
    assert check_rows("my.module:Mine", rows, source="0123456789ab") == rows
    with pytest.raises(TrainingFailed, match="'all'"):
        check_rows("my.module:Mine", [*rows, row(condition="all")], source="0123456789ab")


def test_a_declared_name_is_that_of_all_rows():
    declaration = MeasureSpec("mine")
    assert check_rows("my.module:Mine", [row()], declaration) == [row()]
    with pytest.raises(TrainingFailed, match="'other'"):
        check_rows("my.module:Mine", [row(), row(measure="other")], declaration)


def test_a_text_of_the_longest_length_is_a_row():
    rows = [row(condition="c" * 1000), row(condition="\N{GREEK SMALL LETTER EPSILON} \N{GRINNING FACE}")]
    assert check_rows("my.module:Mine", rows) == rows


def test_a_declared_unit_is_that_of_the_rows_of_its_metric():
    declaration = MeasureSpec("mine", (Metric("m", "ms"),))
    rows = [row(unit="ms"), row(metric="other", unit="s")]
    assert check_rows("my.module:Mine", rows, declaration) == rows
    with pytest.raises(TrainingFailed, match="'s', expected 'ms'"):
        check_rows("my.module:Mine", [*rows, row(unit="s", condition="d")], declaration)


def test_a_declared_fraction_is_a_share_unless_it_may_lie_outside():
    percent = row(value=57.0, unit="fraction")
    with pytest.raises(TrainingFailed, match="is_share"):
        check_rows("my.module:Mine", [percent], MeasureSpec("mine", (Metric("m", "fraction"),)))
    beyond = MeasureSpec("mine", (Metric("m", "fraction", is_share=False),))
    assert check_rows("my.module:Mine", [percent], beyond) == [percent]
    inside = [row(value=1 + 1e-9, unit="fraction")]  # the rounding of a mean
    assert check_rows("my.module:Mine", inside, MeasureSpec("mine", (Metric("m", "fraction"),))) == inside


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([row(metric="accurracy")], "accurracy, expected accuracy or m"),
        ([row(metric="m", condition="C")], "'C', expected 'c' or 'd'"),
    ],
)
def test_rows_of_which_no_table_would_show_any_are_refused(given, named):
    declaration = MeasureSpec("mine", (Metric("accuracy", "u"), Metric("m", "u", columns=("c", "d"))))
    with pytest.raises(TrainingFailed, match=named):
        check_rows("my.module:Mine", given, declaration)
    shown = [row(condition="d"), row(condition="more"), row(metric="more")]
    assert check_rows("my.module:Mine", shown, declaration) == shown
    assert check_rows("my.module:Mine", [], declaration) == []


def test_a_condition_of_a_contest_alone_is_declared_too():
    declaration = MeasureSpec("mine", (Metric("m", "u", True, columns=("c",), contests=(Contest("t", ("e",)),)),))
    assert check_rows("my.module:Mine", [row(condition="e")], declaration)
