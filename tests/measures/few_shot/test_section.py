"""The table of new characters, of records whose numbers the test chose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from capsbench.measures.few_shot.section import SECTION
from capsbench.presenting.material import Material, NoDataError
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from tests.making import with_rows

Make = Callable[..., Record]
NONE = Row("few-shot", "drawings", "", 0.0, "images")


def test_the_table_has_the_accuracies_and_what_the_whole_layer_adds(capsules: Make, tmp_path: Path) -> None:
    rows = [
        Row("few-shot", "accuracy", "20-way 1-shot", 0.5, "fraction"),
        Row("few-shot", "half-width", "20-way 1-shot", 0.01, "fraction"),
        Row("few-shot", "accuracy", "20-way 1-shot, whole layer", 0.6, "fraction"),
        Row("few-shot", "accuracy", "5-way 1-shot, whole layer", 0.8, "fraction"),
        Row("few-shot", "error", "20 runs", 0.4, "fraction"),
        Row("few-shot", "width", "features", 32.0, "features"),
    ]
    record = capsules()
    material = Material.from_records([with_rows(record, [*record.rows, *rows])], Store(tmp_path))
    assert SECTION.readable(SECTION.table(material)).to_dict("records") == [
        {
            "name": "em \N{MULTIPLICATION SIGN}3",
            "n": "1",
            "20-way 1-shot %": "50.0",
            "over episodes ± %": "1.0",
            "error of the 20 runs %": "40.0",
            "width": "32",
            "20-way 1-shot, whole layer %": "60.0",
        }
    ]


def test_without_the_files_there_is_no_table(capsules: Make, tmp_path: Path) -> None:
    record = capsules()
    material = Material.from_records([with_rows(record, [*record.rows, NONE])], Store(tmp_path))
    with pytest.raises(NoDataError):
        SECTION.table(material)
