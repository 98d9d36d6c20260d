from collections.abc import Callable
from pathlib import Path

import pytest

from capsbench.measures.average_precision.section import SECTION
from capsbench.presenting.material import Material
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from capsbench.reporting.headline import describe_matches
from tests.making import make_record

Make = Callable[..., Record]


def ranked(record: Record, *precisions: float) -> Record:
    mean = Row("average-precision", "mean average precision", "test", sum(precisions) / len(precisions), "fraction")
    rows = [
        Row("average-precision", "average precision", f"class {label}", value, "fraction")
        for label, value in enumerate(precisions)
    ]
    return make_record(record.cell, [*record.rows, mean, *rows])


def test_the_table_has_the_mean_and_the_classes_at_both_ends(tmp_path: Path, capsules: Make) -> None:
    records = [ranked(capsules(seed=0), 0.9, 0.5, 0.7), ranked(capsules(seed=1), 0.8, 0.7, 0.7)]
    table = SECTION.table(Material.from_records(records, Store(tmp_path)))
    assert table["mean average precision %"].tolist() == pytest.approx([100 * (2.1 / 3 + 2.2 / 3) / 2])
    readable = SECTION.readable(table)
    assert readable["hardest class"][0].startswith("1: 60.0")
    assert readable["easiest class"][0].startswith("0: 85.0")


def test_the_headline_says_what_accuracy_is_of_such_images_alone(tmp_path: Path, capsules: Make) -> None:
    plain, other = capsules(dataset="mnist"), ranked(capsules(), 0.5)
    assert describe_matches(Material.from_records([plain], Store(tmp_path))) == []
    (sentence,) = describe_matches(Material.from_records([plain, other], Store(tmp_path)))
    assert "digits" in sentence
    assert "mnist" not in sentence
