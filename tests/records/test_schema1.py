"""Records of schema 1 are read as they are: `schema1` holds those of results/reference/digits as capsbench 0.1.0 wrote them."""

import hashlib
import json
import random
import shutil
from pathlib import Path

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.records.record import Failure, Row
from capsbench.records.schema1 import SUMS, OldCell, from_bytes
from capsbench.records.specs import retired_metrics
from capsbench.records.store import Store
from tests.records.test_file import damage

DIGITS = Path(__file__).parent / "schema1"


def read(path: Path, sums=None):
    return from_bytes(path, path.read_bytes(), sums or {})


def old_records(folder):
    return sorted((folder / "records").glob("*.json"))


def test_every_number_is_read_as_it_was_written():
    records, faults = Store(DIGITS).records()
    assert faults == []
    assert len(records) == len(old_records(DIGITS))
    names = {alias: record.cell.id for record in records for alias in record.aliases}
    by_alias = {record.aliases[0]: record for record in records}
    for path in old_records(DIGITS):
        old = json.loads(path.read_text())
        record = by_alias[old["id"]]
        rows = [Row(**{**row, "condition": names.get(row["condition"], row["condition"])}) for row in old["rows"]]
        current = [row for row in rows if row[:2] not in retired_metrics()]
        assert sorted(record.rows, key=str) == sorted(current, key=str)
        assert record.history == old["history"]
        assert (record.status, record.reason) == (old["status"], old["reason"])
        assert record.training.started == old["provenance"]["started"]
        assert record.provenance["commit"] == old["provenance"]["commit"]


def test_the_measures_are_no_part_of_the_identity(tmp_path):
    path = old_records(DIGITS)[0]
    record = read(path)
    assert record.aliases == [path.stem]
    assert record.cell.id != path.stem
    assert set(record.measured) == {"accuracy", "adversarial", "affine", "equivariance", "speed"}
    assert {row.measure for row in record.measures["affine"].rows} == {"affine"}
    assert record.measures["affine"].kept.path == f"kept/affine/{path.stem}.safetensors"
    assert record.training.versions == {"training": 1, "dataset": 1, "loss": 1, **component(record.cell)}


def component(cell):
    return {"network": 1, "routing": 1} if cell.routing else {"baseline": 1}


def write_old(folder, **changes):
    """A record of schema 1 with other fields, and the identity that these make."""
    content = json.loads(old_records(DIGITS)[0].read_text())
    cell = content["cell"] | changes.pop("cell", {})
    content |= {"cell": cell, "id": OldCell.model_validate(cell).id, **changes}
    path = folder / "records" / f"{content['id']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))
    return path


def test_which_gpu_it_was_is_no_part_of_the_identity(tmp_path):
    first, second = (read(write_old(tmp_path, cell={"device": device})) for device in ("cuda:0", "cuda:1"))
    assert first.cell == second.cell
    assert first.cell.device == "cuda"


def test_the_source_of_an_own_measure_is_the_measures(tmp_path):
    cell = {"measures": ["accuracy", "mine:Mine"], "code": {"routing": "abc", "measure mine:Mine": "def"}}
    rows = [
        dict(measure=name, metric="x", condition="y", value=0.5, unit="fraction") for name in ("accuracy", "own name")
    ]
    record = read(write_old(tmp_path, cell=cell, rows=rows, measured=["accuracy", "mine:Mine"]))
    assert record.cell.code == {"routing": "abc"}
    assert record.measures["mine:Mine"].code == "def"
    assert [row.measure for row in record.measures["mine:Mine"].rows] == ["own name"]


def test_what_failed_says_why(tmp_path):
    note = {"reason": "no luck", "failed": "2026-01-01", "traceback": "Traceback"}
    record = read(write_old(tmp_path, provenance={"failed measures": {"speed": note}}, status="trained"))
    assert record.failures == {"speed": Failure("no luck", "2026-01-01", "Traceback")}
    failed = read(write_old(tmp_path, status="failed", reason="nan", provenance={"failed": "2026-01-01"}, rows=[]))
    assert (failed.status, failed.reason, failed.training) == ("failed", "nan", None)


def test_an_old_identity_still_gives_the_record():
    path = old_records(DIGITS)[0]
    record = Store(DIGITS).read(path.stem)
    assert record == Store(DIGITS).read(record.cell.id)


def test_a_new_record_takes_the_place_of_the_old_one(tmp_path):
    shutil.copytree(DIGITS / "records", tmp_path / "records")
    store = Store(tmp_path)
    record = store.read(old_records(DIGITS)[0].stem)
    store.write(record)
    assert store.record_path(record.cell.id).exists()
    assert not store.record_path(record.aliases[0]).exists()
    assert store.records()[1] == []
    assert len(store.records()[0]) == len(old_records(DIGITS))
    assert Store(tmp_path).read(record.cell.id) == record


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 1}', b"\x00", b'{"schema": 1, "cell": {}}'])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read(path)
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, path)


@pytest.mark.parametrize(
    "provenance", [None, {"started": 5}, {"failed measures": {"speed": {}}}, {"measured": "here"}, {"seconds": "long"}]
)
def test_odd_facts_make_no_record(tmp_path, provenance):
    with pytest.raises(UsageError) as caught:
        read(write_old(tmp_path, provenance=provenance))
    assert caught.value.kind is Kind.DAMAGED


@pytest.mark.parametrize("seed", range(10))
def test_a_changed_file_whose_sum_is_not_known_ends_no_command(seed, tmp_path):
    path = old_records(DIGITS)[seed]
    content, draw = path.read_bytes(), random.Random(seed)
    copy = tmp_path / "records" / path.name
    copy.parent.mkdir()
    for _ in range(100):
        copy.write_bytes(damage(content, draw))
        records, faults = Store(tmp_path).records()
        assert len(records) + len(faults) == 1


def test_a_number_that_is_not_finite_makes_no_whole_record(tmp_path):
    path = write_old(tmp_path)
    path.write_text(path.read_text().replace('"value": ', '"value": NaN, "x": ', 1))
    with pytest.raises(UsageError) as caught:
        read(path)
    assert "rows.0.value" in caught.value.problem


@pytest.mark.parametrize("seed", range(10))
def test_a_changed_file_whose_sum_is_known_is_never_taken(seed, tmp_path):
    path = old_records(DIGITS)[seed]
    content, draw = path.read_bytes(), random.Random(seed)
    (tmp_path / SUMS).write_text(f"{hashlib.sha256(content).hexdigest()}  records/{path.name}\n")
    store, copy = Store(tmp_path), tmp_path / "records" / path.name
    copy.parent.mkdir()
    for _ in range(100):
        changed = damage(content, draw)
        if changed != content:
            copy.write_bytes(changed)
            assert store.records()[0] == []
            assert len(store.records()[1]) == 1
    copy.write_bytes(content)
    assert [record.aliases for record in store.records()[0]] == [[path.stem]]


@pytest.mark.parametrize("value", [1.7, -1e308])
def test_a_share_outside_0_and_1_is_refused(tmp_path, value):
    old = json.loads(old_records(DIGITS)[0].read_text())
    next(row for row in old["rows"] if row["metric"] == "accuracy")["value"] = value
    path = tmp_path / f"{old['id']}.json"
    path.write_text(json.dumps(old))
    with pytest.raises(UsageError, match="not a whole record"):
        read(path)
