"""Files of rows between two networks: everything that a record is checked for."""

import json

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.records import between
from capsbench.records.file import seal_json
from capsbench.records.record import Measurement, Row
from capsbench.records.store import Store
from tests.making import make_capsules, make_record

SOURCE, TARGET = (make_capsules(seed=seed) for seed in (0, 1))
ROW = Row("transfer", "success rate", SOURCE.id, 0.5, "fraction", 0.3)
TAKEN = Measurement([ROW], 2, {"cpu": "a CPU"}, code="ab", data="1-2")


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.write_between("transfer:quick", SOURCE.id, TARGET.id, TAKEN)
    return store


@pytest.fixture
def path(store):
    return store.between_path("transfer:quick", SOURCE.id, TARGET.id)


def test_rows_are_read_as_they_were_written(path):
    rows = between.from_bytes(path, path.read_bytes())
    assert rows.to_measurement() == TAKEN
    assert (rows.measure, rows.source, rows.target) == ("transfer:quick", SOURCE.id, TARGET.id)


def test_the_digest_of_the_data_comes_with_the_rows(store):
    _, target = store.add_between([make_record(SOURCE), make_record(TARGET)])
    assert target.measures["transfer:quick"].data == "1-2"


def test_files_of_schema_1_have_no_digest_of_their_data(path):
    content = json.loads(path.read_bytes())
    del content["digest"], content["data"]
    rows = between.from_bytes(path, seal_json({**content, "schema": 1}))
    assert (rows.schema, rows.rows, rows.data) == (1, [ROW], None)


def change(**fields):
    return lambda content: {**content, **fields}


def with_rows(*rows):
    return change(rows=[{name: value for name, value in row._asdict().items() if value is not None} for row in rows])


OTHER = "0" * 12


@pytest.mark.parametrize(
    "spoil",
    [
        with_rows(ROW, ROW),
        with_rows(ROW, ROW._replace(value=0.6)),
        with_rows(ROW._replace(value=1.5)),
        with_rows(ROW._replace(value=1e31, unit="images")),
        with_rows(ROW._replace(measure="accuracy")),
        with_rows(ROW._replace(condition=OTHER)),
        change(source=OTHER),
        change(target=OTHER),
        change(measure="affine"),
        change(rows=[{"measure": "transfer"}]),
        change(schema=99),
    ],
    ids=[
        "twice", "two values", "share above 1", "too large", "another measure", "another condition", "another source",
        "another target", "another measure's file", "not whole", "newer",
    ],
)  # fmt: skip
def test_odd_rows_are_named_and_left_out(store, path, spoil):
    content = json.loads(path.read_bytes())
    del content["digest"]
    path.write_bytes(seal_json(spoil(content)))
    records = [make_record(SOURCE), make_record(TARGET)]
    with pytest.raises(UsageError) as caught:
        between.from_bytes(path, path.read_bytes())
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, path)
    assert store.list_unreadable(records) == [str(caught.value)]
    assert store.add_between(records) == records
    assert not store.has_between("transfer:quick", *records, version=2, code="ab")


def test_the_same_number_at_two_levels_is_two_numbers(store, path):
    rows = [ROW, ROW._replace(level=0.1), ROW._replace(level=None)]
    store.write_between("transfer:quick", SOURCE.id, TARGET.id, Measurement(rows))
    assert between.from_bytes(path, path.read_bytes()).rows == rows


def test_rows_take_the_place_of_the_same_numbers_in_the_record(store):
    """A reference has transfers in its records; a run that goes on in a copy of it takes them again."""
    other = ROW._replace(condition=OTHER)
    known = make_record(TARGET, [ROW._replace(value=0.1), other], measured=["transfer:quick"])
    _, target = store.add_between([make_record(SOURCE), known])
    assert target.measures["transfer:quick"].rows == [other, ROW]
