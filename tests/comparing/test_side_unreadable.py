"""What was kept and cannot be read is named by whoever compares, since another test stands in."""

import pytest

from capsbench.comparing import check, compare
from capsbench.comparing.update import update
from capsbench.errors import Kind, UsageError
from capsbench.records.store import Store
from tests.comparing.records import keep_predictions, record, write


@pytest.fixture
def folders(tmp_path):
    """Two folders of three seeds with predictions, of which the second's first file is damaged."""
    made = []
    for name in ("one", "other"):
        records = [record(0.9, seed) for seed in (0, 1, 2)]
        made.append(write(tmp_path / name, records))
        for each in records:
            keep_predictions(made[-1], each, [True] * 9 + [False])
    path = Store(made[1]).kept_path("accuracy", records[0].cell.id)
    path.write_bytes(path.read_bytes()[:-8])
    return *made, path


def test_compare_names_it_and_its_side(folders):
    one, other, path = folders
    (line,) = compare(one, other).faults
    assert line.startswith(f"B: {path}: ")
    assert compare(one, one).faults == []


def test_check_names_it(folders):
    one, other, path = folders
    assert [line for line in check(one, other).notes if str(path) in line]
    assert [line for line in check(other, one).notes if str(path) in line]


def test_no_reference_is_made_of_it(folders, tmp_path):
    with pytest.raises(UsageError) as caught:
        update(tmp_path / "reference", folders[1])
    assert (caught.value.kind, caught.value.flag) == (Kind.DAMAGED, "out")
    assert not (tmp_path / "reference" / "records").exists()
