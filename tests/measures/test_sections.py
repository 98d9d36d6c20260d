"""The sections on transfer, routing and detection: matrices and tables of records whose numbers the test chose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from capsbench.measures.detection.section import SECTION as DETECTION
from capsbench.measures.routing_robustness.section import SECTION as ROUTING
from capsbench.measures.routing_robustness.section import draw_iterations
from capsbench.measures.transfer.section import SECTION as TRANSFER
from capsbench.measures.transfer.section import build_matrix, draw_matrix
from capsbench.presenting.material import Material, NoDataError
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from tests.making import with_rows

Make = Callable[..., Record]


def having(record: Record, *rows: Row) -> Record:
    return with_rows(record, [*record.rows, *rows])


def fooled(records: list[Record], success: dict[tuple[int, int], float]) -> list[Record]:
    """Records with success rates by the places of (source, target), and one image beyond the white box each."""
    made = []
    for place, record in enumerate(records):
        rows = []
        for (source, target), value in success.items():
            if target == place:
                cell = records[source].cell.id
                rows.append(Row("transfer", "success rate", cell, value, "fraction", 0.05))
                rows.append(Row("transfer", "beyond white box", cell, float(source == 2), "images", 0.05))
        made.append(having(record, *rows))
    return made


def test_a_contender_is_shown_the_images_of_its_other_seeds(capsules: Make, matched: Make, tmp_path: Path) -> None:
    records = [capsules(seed=0), capsules(seed=1), matched(seed=0)]
    success = {(0, 0): 1.0, (1, 1): 1.0, (0, 1): 0.4, (1, 0): 0.6, (2, 0): 0.1, (2, 1): 0.3, (0, 2): 0.2, (2, 2): 0.9}
    material = Material.from_records(fooled(records, success), Store(tmp_path))
    matrix = build_matrix(material).set_index(["source", "target"])["success"]
    em, cnn = material.summary["contender"]
    assert matrix.to_dict() == pytest.approx({(em, em): 0.5, (cnn, em): 0.2, (em, cnn): 0.2, (cnn, cnn): 0.9})
    (axes,) = draw_matrix(material).figure.axes
    assert [text.get_text() for text in axes.texts] == ["50", "20", "20", "90"]
    table = TRANSFER.readable(TRANSFER.table(material))
    assert table.to_numpy().tolist() == [
        ["em \N{MULTIPLICATION SIGN}3", "1", "20.0", "20.0", "1 images"],
        ["matched CNN", "1", "20.0", "20.0", "1 images"],
    ]


def test_a_network_alone_has_no_table_of_transfer(capsules: Make, tmp_path: Path) -> None:
    material = Material.from_records(fooled([capsules()], {(0, 0): 1.0}), Store(tmp_path))
    with pytest.raises(NoDataError) as caught:
        TRANSFER.table(material)
    assert caught.value.missing == "a second network"


def routed(record: Record, votes: float) -> Record:
    name = "routing-robustness"
    return having(
        record,
        Row(name, "accuracy", "mean votes", 0.9, "fraction"),
        Row(name, "robust accuracy", "vote attack", votes, "fraction", 0.05),
        Row(name, "robust accuracy", "vote attack", 0.0, "fraction", 0.2),
        Row(name, "robust accuracy", "output attack", 0.8, "fraction", 0.05),
        *(Row(name, "accuracy", "iterations at test time", 0.8 + n / 100, "fraction", n) for n in (1.0, 2.0)),
        *(Row(name, "robust accuracy", "iterations at test time", 0.4 + n / 100, "fraction", n) for n in (1.0, 2.0)),
    )


def test_the_part_of_the_routing(capsules: Make, tmp_path: Path) -> None:
    material = Material.from_records(
        [routed(capsules(seed=seed), 0.7 + 0.02 * seed) for seed in (0, 1, 2)], Store(tmp_path)
    )
    table = ROUTING.readable(ROUTING.table(material))
    assert table.to_dict("records") == [
        {
            "name": "em \N{MULTIPLICATION SIGN}3",
            "n": "3",
            "accuracy of mean votes %": "90.0 ± 0.7",
            "vote attack %": "72.0 ± 5.2",
            "output attack %": "80.0 ± 0.7",
            "\N{MULTIPLICATION SIGN}1 at test %": "41.0 ± 0.7",
            "\N{MULTIPLICATION SIGN}2 at test %": "42.0 ± 0.7",
        }
    ]
    clean, robust = draw_iterations(material).figure.axes
    assert list(clean.lines[0].get_ydata()) == pytest.approx([81, 82])
    assert list(robust.lines[0].get_ydata()) == pytest.approx([41, 42])


def test_one_seed_has_numbers_without_intervals(capsules: Make, tmp_path: Path) -> None:
    material = Material.from_records([routed(capsules(), 0.7)], Store(tmp_path))
    (row,) = ROUTING.readable(ROUTING.table(material)).to_dict("records")
    assert (row["n"], row["vote attack %"], row["\N{MULTIPLICATION SIGN}2 at test %"]) == ("1", "70.0", "42.0")


def test_detection_is_that_at_the_published_epsilon(capsules: Make, tmp_path: Path) -> None:
    rows = [
        Row("detection", "threshold", "validation", 3.5, "L2"),
        Row("detection", "false positives", "test", 0.05, "fraction"),
        *(Row("detection", "detected", "pgd", 0.7 + at, "fraction", at) for at in (0.05, 0.1)),  # published: 0.1
        Row("detection", "undetected rate", "worst case", 0.25, "fraction", 0.1),
    ]
    table = DETECTION.readable(DETECTION.table(Material.from_records([having(capsules(), *rows)], Store(tmp_path))))
    assert table.to_dict("records") == [
        {
            "name": "em \N{MULTIPLICATION SIGN}3",
            "n": "1",
            "false positives %": "5.0",
            "of which detected %": "80.0",
            "undetected by either %": "25.0",
            "threshold (L2)": "3.50",
        }
    ]
