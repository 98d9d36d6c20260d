"""Predictions in, the hardest class and the most frequent confusions out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from capsbench.measures.accuracy.section import (
    FEW_CLASSES,
    MOST_CLASSES,
    SECTION,
    UNKNOWN,
    draw_classes,
    draw_confusions,
    find_confusion,
)
from capsbench.presenting.material import Material, NoDataError
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from tests.making import make_record

Make = Callable[..., Record]

LABELS = np.array([0, 0, 0, 0, 1, 1, 2, 2], dtype=np.int32)
PREDICTED = np.array([0, 0, 0, 2, 1, 1, 1, 2], dtype=np.int32)


def predict(record: Record, predictions: np.ndarray = PREDICTED, labels: np.ndarray = LABELS) -> Record:
    """A record with the accuracy of each class."""
    shares = [(label, float((predictions == labels)[labels == label].mean())) for label in np.unique(labels)]
    rows = [Row("accuracy", "accuracy", f"class {label}", share, "fraction") for label, share in shares]
    return make_record(record.cell, [*(row for row in record.rows if not row.condition.startswith("class ")), *rows])


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Material]:
    """Returns the material of records, cell by cell with its predictions; None: none were kept."""

    def read(*pairs: tuple[Record, np.ndarray | None], labels: np.ndarray = LABELS) -> Material:
        material = Material.from_records([record for record, _ in pairs], Store(tmp_path))
        kept = {
            record.cell.id: {} if predictions is None else {"label": labels, "prediction": predictions}
            for record, predictions in pairs
        }
        return replace(material, kept=lambda measure, cell: kept[cell])

    return read


def test_confusions_are_means_over_seeds_of_the_shares_of_the_true_class(
    read: Callable[..., Material], capsules: Make
) -> None:
    first, second = (predict(capsules(seed=seed)) for seed in (0, 1))
    material = read((first, PREDICTED), (second, LABELS))
    confusion = find_confusion(material, first.cell.contender)
    assert confusion is not None
    assert confusion.tolist() == [[0.875, 0, 0.125], [0, 1, 0], [0, 0.25, 0.75]]


def test_the_table_has_each_class_and_what_it_is_taken_for(read: Callable[..., Material], capsules: Make) -> None:
    table = SECTION.table(read((predict(capsules()), PREDICTED)))
    assert table["class"].tolist() == [0, 1, 2]
    assert table["accuracy %"].tolist() == pytest.approx([75.0, 100.0, 50.0])
    assert table["taken for"].tolist() == ["2", "", "1"]
    assert table["taken for %"].dropna().tolist() == pytest.approx([25.0, 50.0])
    (row,) = SECTION.readable(table).to_dict("records")
    assert row["hardest class"].startswith("2: 50.0")
    assert row["easiest class"].startswith("1: 100.0")
    assert row["most confused"] == "2 as 1 (50.0 %); 0 as 2 (25.0 %)"


def test_classes_have_the_names_that_the_record_has(read: Callable[..., Material], capsules: Make) -> None:
    material = replace(read((predict(capsules()), PREDICTED)), class_names={"digits": ["bar", "cross", "ring"]})
    assert SECTION.table(material)["taken for"].tolist() == ["ring", "", "cross"]


def test_classes_have_the_names_that_a_built_in_data_set_declares(
    read: Callable[..., Material], capsules: Make
) -> None:
    record = capsules()
    clothes = make_record(record.cell.model_copy(update={"dataset": "fashion-mnist"}), record.rows)
    table = SECTION.table(read((predict(clothes), PREDICTED)))
    assert table["taken for"].tolist() == ["pullover", "", "trouser"]


def test_without_predictions_the_accuracies_stay(read: Callable[..., Material], capsules: Make) -> None:
    table = SECTION.table(read((predict(capsules()), None)))
    assert table["accuracy %"].tolist() == pytest.approx([75.0, 100.0, 50.0])
    assert SECTION.readable(table)["most confused"].tolist() == [UNKNOWN]
    with pytest.raises(NoDataError):
        draw_confusions(read((predict(capsules()), None)))


def test_records_without_classes_have_no_section(read: Callable[..., Material], capsules: Make) -> None:
    with pytest.raises(NoDataError):
        SECTION.table(read((capsules(), None)))


def test_a_matrix_has_errors_in_colour_and_what_is_right_on_its_diagonal(
    read: Callable[..., Material], capsules: Make
) -> None:
    picture = draw_confusions(read((predict(capsules()), PREDICTED)))
    (axes,) = picture.figure.axes
    written = {(text.get_position(), text.get_text()) for text in axes.texts if text.get_text()}
    assert written == {
        ((0.5, 0.5), "75"),
        ((1.5, 1.5), "100"),
        ((2.5, 2.5), "50"),
        ((2.5, 0.5), "25"),  # of class 0, taken for class 2
        ((1.5, 2.5), "50"),
    }
    FigureCanvasAgg(picture.figure).draw()


def test_many_classes_have_a_table_alone(read: Callable[..., Material], capsules: Make) -> None:
    labels = np.arange(MOST_CLASSES + 1, dtype=np.int32)
    taken = np.roll(labels, 1)
    material = read((predict(capsules(), taken, labels), taken), labels=labels)
    assert len(SECTION.readable(SECTION.table(material))) == 1
    for draw in (draw_classes, draw_confusions):
        with pytest.raises(NoDataError) as refused:
            draw(material)
        assert refused.value.missing == FEW_CLASSES  # the predictions are on record
