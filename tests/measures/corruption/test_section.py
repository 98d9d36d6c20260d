"""The section on corrupted images: ratios to the CNN of sums over severities."""

import pytest

from capsbench.measures.corruption.section import RELATIVE, SECTION
from capsbench.measures.corruption.spec import CORRUPTION
from capsbench.presenting.material import Material
from capsbench.records.record import Row
from capsbench.records.store import Store
from tests.making import with_rows


def corrupted(record, by_corruption):
    rows = [Row(CORRUPTION, "error", "clean", 0.01, "fraction")]
    for name, errors in by_corruption.items():
        rows += [
            Row(CORRUPTION, "error", name, error, "fraction", float(level)) for level, error in enumerate(errors, 1)
        ]
        rows.append(Row(CORRUPTION, "mean error", name, sum(errors) / len(errors), "fraction"))
    rows.append(Row(CORRUPTION, "mean error", "mean", 0.2, "fraction"))
    return with_rows(record, [*record.rows, *rows])


@pytest.fixture
def table_of(capsules, matched, tmp_path):
    def build(network, cnn=None):
        records = [corrupted(capsules(), network)]
        if cnn is not None:
            records.append(corrupted(matched(), cnn))
        return SECTION.table(Material.from_records(records, Store(tmp_path)))

    return build


def test_errors_are_summed_over_severities_before_they_are_divided(table_of):
    table = table_of(
        {"fog": (0.1, 0.5), "shear": (0.3, 0.3), "stripe": (0.1, 0.1)},
        {"fog": (0.02, 0.18), "shear": (0.6, 0.6), "stripe": (0.001, 0.009)},
    )
    em, _ = table.to_dict("records")
    assert em[f"fog, {RELATIVE}"] == pytest.approx(300)  # the mean of 5 and 2.8 would be 389
    assert em[f"shear, {RELATIVE}"] == pytest.approx(50)
    assert em[f"stripe, {RELATIVE}"] != em[f"stripe, {RELATIVE}"]  # the CNN's 0.5 % is of a few images
    assert em[RELATIVE] == pytest.approx(175)
    shown = SECTION.readable(table)
    assert shown[RELATIVE].tolist() == ["175", ""]
    assert list(shown)[:6] == ["name", "n", "clean %", "corrupted %", RELATIVE, "fog %"]


def test_without_a_baseline_there_is_no_ratio(table_of):
    shown = SECTION.readable(table_of({"fog": (0.1, 0.5)}))
    assert RELATIVE not in shown
    assert shown["fog %"].tolist() == ["30.0"]
