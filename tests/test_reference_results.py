"""The committed reference results are whole, and say what the README says of them."""

from pathlib import Path

import pytest

from capsbench.store import Store, load

REFERENCE = Path(__file__).parent.parent / "results" / "reference"
FOLDERS = sorted(path for path in REFERENCE.iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_record_is_whole_finished_and_from_a_clean_commit(folder):
    records, faults = Store(folder).records()
    assert faults == []
    assert records
    for record in records:
        assert record.status == "finished"
        assert record.provenance["commit"]
        assert record.provenance["dirty"] is False
        assert Store(folder).predictions(record.cell.id)["label"].shape[0] >= 500


def test_em_routing_trains_at_every_number_of_iterations():
    for folder, least in (("digits", 0.93), ("mnist-12000", 0.96)):
        table = load(REFERENCE / folder).query("metric == 'accuracy' and condition == 'test' and routing == 'em'")
        means = table.groupby("iterations")["value"].mean()
        assert means.index.tolist() == [1, 2, 3]
        assert (means >= least).all()
