"""The section on adversarial robustness: the worst case is what the records say, and a failed check marks it everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from capsbench.measures.adversarial.section import SECTION, draw_examples, draw_readings, draw_robust_accuracy
from capsbench.measures.soundness import find_failed_checks
from capsbench.presenting.figures.files import render_image
from capsbench.presenting.marks import UNSOUND
from capsbench.presenting.material import Material, NoDataError
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from tests.making import with_rows

Make = Callable[..., Record]
EM, CNN = "em \N{MULTIPLICATION SIGN}3", "matched CNN"


def robust(condition: str, value: float, level: float) -> Row:
    return Row("adversarial", "robust accuracy", condition, value, "fraction", level)


def attacked(record: Record, worst: float, held: float = 1.0) -> Record:
    """A record attacked on digits, where the headline epsilons are 0.05 (L-inf) and 0.5 (L2)."""
    reading = "logits" if not record.cell.has_routing else "lengths"
    rows = [
        *(robust(f"{threat}, worst case", 0.97, 0.0) for threat in ("Linf", "L2")),
        robust("Linf, worst case", worst, 0.05),
        robust("Linf, worst case", 0.0, 0.2),
        robust("L2, worst case", worst / 2, 0.5),
        robust(f"Linf, pgd, {reading}, cross-entropy", worst + 0.1, 0.05),
        robust("black box, square", worst + 0.2, 0.05),
        Row("adversarial", "sanity check", "doubled steps", held, "held"),
        Row("adversarial", "sanity check", "gradients not zero", 1.0, "held"),
    ]
    return with_rows(record, [*record.rows, *rows])


@pytest.fixture
def records(capsules: Make, matched: Make) -> list[Record]:
    return [
        *(attacked(capsules(seed=seed), 0.5 + 0.02 * seed, held=float(seed != 1)) for seed in (0, 1, 2)),
        attacked(matched(), 0.3),
    ]


@pytest.fixture
def material(records: list[Record], tmp_path: Path) -> Material:
    return Material.from_records(records, Store(tmp_path))


def test_numbers_of_the_table(material: Material) -> None:
    table = SECTION.readable(SECTION.table(material))
    assert table["name"].tolist() == [EM, CNN]
    numbers = {"clean %": 97, "worst case L∞ %": 52, "usual PGD %": 62, "black box %": 72, "worst case L2 %": 26}
    for (heading, of_em), of_cnn in zip(numbers.items(), ("97.0", "30.0", "40.0", "50.0", "15.0"), strict=True):
        em, cnn = table[heading]
        assert re.fullmatch(rf"{of_em}\.0 ± \d\.\d {UNSOUND.sign}", em), em
        assert cnn == of_cnn
    assert table["epsilon"].tolist() == ["0.05 / 0.5"] * 2
    assert table["failed checks"].tolist() == ["doubled steps", "none"]


def test_attacks_of_a_users_own_are_named_where_a_contender_has_any(records: list[Record], tmp_path: Path) -> None:
    readings = [robust(f"Linf, {name}, lengths, own loss", 0.4, 0.05) for name in ("twist", "blur")]
    mine = [with_rows(record, [*record.rows, *readings]) for record in records[:3]]
    table = SECTION.table(Material.from_records([*mine, records[3]], Store(tmp_path)))
    assert table["own attacks"].tolist() == ["blur; twist", ""]
    assert SECTION.readable(table)["own attacks"].tolist() == ["blur; twist", "none"]
    assert "own attacks" not in SECTION.table(Material.from_records(records, Store(tmp_path)))


def test_a_check_that_failed_for_one_seed_marks_the_contender(material: Material) -> None:
    (failed,) = find_failed_checks(material).values()
    assert failed == ["doubled steps"]
    labels = [text.get_text() for text in draw_robust_accuracy(material).figure.legends[0].get_texts()]
    assert labels == [f"{EM} {UNSOUND.sign}", CNN]
    assert [label.get_text() for label in draw_readings(material).figure.axes[0].get_yticklabels()] == [
        f"{EM} {UNSOUND.sign}",
        CNN,
    ]


def test_transfer_that_beats_the_white_box_is_a_failed_check(records: list[Record], tmp_path: Path) -> None:
    def shown(images: float) -> dict[str, list[str]]:
        row = Row("transfer", "beyond white box", records[0].cell.id, images, "images", 0.05)
        of_cnn = with_rows(records[3], [*records[3].rows, row])
        return find_failed_checks(Material.from_records([*records[:3], of_cnn], Store(tmp_path)))

    assert len(shown(1.0)) == 1  # one of a hundred images is let pass
    assert list(shown(2.0).values())[1] == ["transfer no stronger"]


def test_the_nearest_images_are_those_of_the_reading_that_finds_them(records: list[Record], tmp_path: Path) -> None:
    rows = [
        Row("adversarial", "perturbation norm", f"L2, cw, {reading}, margin, mean", norm, "distance")
        for reading, norm in (("lengths", 1.5), ("logit", 1.25))
    ]
    material = Material.from_records([with_rows(records[0], [*records[0].rows, *rows]), *records[1:]], Store(tmp_path))
    assert SECTION.readable(SECTION.table(material))["CW norm (L2)"].tolist() == ["1.25", ""]


def test_curves_are_the_worst_case_by_epsilon(material: Material) -> None:
    linf, l2 = draw_robust_accuracy(material).figure.axes
    assert [list(line.get_xdata()) for line in linf.lines] == [[0, 0.05, 0.2]] * 2
    assert [list(line.get_ydata()) for line in linf.lines] == [pytest.approx([97, 52, 0]), pytest.approx([97, 30, 0])]
    assert list(l2.lines[1].get_ydata()) == pytest.approx([97, 15])


def test_readings_stand_in_columns_and_scores_of_both_kinds_in_one(material: Material) -> None:
    (axes,) = draw_readings(material).figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["CE", "worst\ncase"]
    assert [text.get_text() for text in axes.texts] == ["62", "52", "40", "30", "scores"]


def test_images_tell_the_misled_from_the_others(records: list[Record], tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept = {
        "label": torch.tensor([0, 1, 0], dtype=torch.int32),
        "pictured": torch.tensor([0, 1], dtype=torch.int32),
        "clean images": torch.zeros(2, 1, 8, 8),
        **{f"images.{threat}": torch.ones(2, 1, 8, 8) for threat in ("Linf", "L2")},
        "predictions.Linf": torch.tensor([0, 7], dtype=torch.int32),
        "predictions.L2": torch.tensor([5, 1], dtype=torch.int32),
    }
    store.write_tensors(store.kept_path("adversarial", records[0].cell.id), kept)
    picture = draw_examples(Material.from_records(records, store))
    (axes,) = picture.figure.axes
    said = [(text.get_text(), text.get_fontweight()) for text in axes.texts]
    clean = [("0", "normal"), ("1", "normal")] * 2
    em = [("0", "normal"), ("7", "bold"), ("5", "bold"), ("1", "normal")]
    threats = [("L∞, epsilon 0.05", "normal"), ("L2, epsilon 0.5", "normal")]
    assert said == [("as they are", "normal"), *clean, (f"{EM} {UNSOUND.sign}", "normal"), *em, *threats]
    (drawn,) = axes.images
    assert drawn.get_array().shape[2] == 4
    assert f" {UNSOUND.sign}: {UNSOUND.meaning}." in render_image(picture, ()).caption


def test_without_kept_images_there_is_no_picture_of_them(material: Material) -> None:
    with pytest.raises(NoDataError) as caught:
        draw_examples(material)
    assert caught.value.missing == "adversarial images"
