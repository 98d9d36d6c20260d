"""The section on out-of-distribution images: its columns, its means and what it says was left out."""

import pytest

from capsbench.measures.ood.section import SECTION
from capsbench.measures.ood.spec import OOD, name_auroc, name_fpr
from capsbench.presenting.caption import spell_caption
from capsbench.presenting.material import Material
from capsbench.records.record import Row
from capsbench.records.store import Store
from tests.making import with_rows


def scored(record, auroc, absent=()):
    rows = [
        *(
            Row(OOD, name_auroc("activation"), name, auroc, "fraction")
            for name in ("uniform noise", "omniglot", "mean")
        ),
        *(Row(OOD, name_fpr("activation"), name, 0.25, "fraction") for name in ("uniform noise", "omniglot", "mean")),
        Row(OOD, name_auroc("share"), "omniglot", 0.5, "fraction"),
        Row(OOD, "images", "omniglot", 544.0, "images"),
        *(Row(OOD, "images", name, 0.0, "images") for name in absent),
    ]
    return with_rows(record, [*record.rows, *rows])


@pytest.fixture
def table_of(capsules, tmp_path):
    def build(**fields):
        records = [scored(capsules(seed=seed), auroc, **fields) for seed, auroc in ((0, 0.8), (1, 0.9))]
        return SECTION.table(Material.from_records(records, Store(tmp_path)))

    return build


def test_the_table_has_means_and_each_set_and_the_file_has_the_rest(table_of):
    table = table_of()
    (row,) = SECTION.readable(table).to_dict("records")
    assert row.keys() == {"name", "n", "AUROC mean %", "FPR mean %", "uniform noise %", "omniglot %"}
    assert (row["AUROC mean %"].split()[0], row["FPR mean %"].split()[0]) == ("85.0", "25.0")
    assert table["AUROC by share, omniglot %"].tolist() == [50.0]
    assert "FPR at 95 % by activation, omniglot %" in table


def test_sets_that_were_left_out_are_named(table_of):
    table = SECTION.readable(table_of(absent=("notmnist", "kmnist")))
    assert table["left out"].tolist() == ["notmnist, kmnist"]
    assert len(spell_caption(SECTION.caption, table)) > len(
        spell_caption(SECTION.caption, SECTION.readable(table_of()))
    )
