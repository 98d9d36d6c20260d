"""The table of the diagnosis, of records whose numbers the test chose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from capsbench.measures.parts.section import SECTION
from capsbench.presenting.material import Material
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from tests.making import with_rows

Make = Callable[..., Record]


def diagnosed(record: Record, **layers: float) -> Record:
    rows = [
        Row("parts", metric, layer.replace("_", " "), value, unit, level)
        for layer, value in layers.items()
        for metric, unit, level in (
            ("coupling entropy", "fraction", None),
            ("coupling entropy", "fraction", 1.0),
            ("dead children", "fraction", None),
        )
    ]
    return with_rows(record, [*record.rows, *rows])


def test_each_layer_has_its_line(capsules: Make, matched: Make, tmp_path: Path) -> None:
    records = [
        diagnosed(capsules(seed=seed), convolutional_capsules=0.5 + seed / 10, class_capsules=0.25) for seed in (0, 1)
    ]
    other = diagnosed(capsules(iterations=1), class_capsules=0.125)
    material = Material.from_records([*records, matched(), other], Store(tmp_path))
    table = SECTION.readable(SECTION.table(material)).set_index("n").loc["2"]
    assert list(table["name"]) == [
        "em \N{MULTIPLICATION SIGN}3, convolutional capsules",
        "em \N{MULTIPLICATION SIGN}3, class capsules",
    ]
    assert [cell.split()[0] for cell in table["entropy"]] == ["0.550", "0.250"]
    assert [cell.split()[0] for cell in table["dead children %"]] == ["55.0", "25.0"]
