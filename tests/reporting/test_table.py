"""Tables of strings: units in headings, columns of numbers, groups of rows, legends."""

from __future__ import annotations

import pandas as pd

from capsbench.presenting.format import SIGNIFICANT_MEANS
from capsbench.presenting.marks import UNSOUND
from capsbench.reporting.table import Table


def make_table(caption: str = "caption", **columns: list[str]) -> Table:
    return Table.from_strings("a", "A", pd.DataFrame(columns), caption)


def test_a_unit_that_all_have_stands_in_the_heading() -> None:
    made = make_table(step=["12.0 ms", "", "3.40 ms"], mixed=["1.0 s", "2 ms", "3 ms"], accuracy=["97.3", "98.1", "1"])
    assert made.headings == ["step (ms)", "mixed", "accuracy"]
    assert [row[0] for row in made.rows] == ["12.0", "", "3.40"]
    assert [row[1] for row in made.rows] == ["1.0 s", "2 ms", "3 ms"]
    assert made.numbers == [True, True, True]


def test_all_is_a_number_of_images_and_words_are_none() -> None:
    made = make_table(train=["100", "all"], size=["tiny", "small"], checks=["none", "2"], nothing=["", ""])
    assert made.numbers == [True, False, False, False]


def test_rows_that_belong_to_one_above_stay_there() -> None:
    assert make_table(claim=["13. more help", "", ""], n=["3", "2", "1"]).grouped
    assert not make_table(claim=["a", "b"], n=["3", "2"]).grouped


def test_the_legend_has_the_signs_that_stand_in_the_table() -> None:
    assert make_table(x=["1.0", "2.0"]).marks == []
    table = make_table(x=["1.0*", "2.0 †"])
    assert table.marks == [SIGNIFICANT_MEANS, f"{UNSOUND.sign}: {UNSOUND.meaning}"]
    assert table.caption == "Caption."


def test_a_caption_on_the_tables_own_test_is_the_legend_of_its_asterisk() -> None:
    caption = "First. *: by a test of its own, p < 0.05. Last."
    with_sign, without = (make_table(caption, x=[cell]) for cell in ("1.0*", "1.0"))
    assert with_sign.marks == ["*: by a test of its own, p < 0.05"]
    assert without.marks == []
    assert with_sign.caption == without.caption == "First. Last."
