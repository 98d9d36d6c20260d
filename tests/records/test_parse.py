"""JSON of ours has each key once, in every file that is read."""

import json
from hashlib import sha256

import pytest
from pydantic import TypeAdapter

from capsbench.errors import Kind, UsageError
from capsbench.planning.suites import read_suite
from capsbench.records.file import to_bytes
from capsbench.records.parse import UnfitError, parse_json
from capsbench.records.record import Measurement, Row
from capsbench.records.store import Store
from capsbench.reporting.build import report
from tests.making import make_capsules, make_record
from tests.records.old import write_old

ANY = TypeAdapter(dict)
ROW = Row("accuracy", "accuracy", "test", 0.5, "fraction")


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": 1, "a": 1}',
        b'{"a": {"b": 1, "c": 2, "b": 3}}',
        b'{"a": [{"b": 1}, {"b": 1, "b": 2}]}',
        b'{"a": 1, "\\u0061": 2}',
    ],
)
def test_a_key_that_an_object_has_twice_is_refused(content):
    with pytest.raises(UnfitError):
        parse_json(ANY, content)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1} {}', b'{"a": ' + b"[" * 100_000, b"\xff"])
def test_what_is_no_object_is_refused(content):
    with pytest.raises(UnfitError):
        parse_json(ANY, content)


def test_keys_of_several_objects_may_be_the_same():
    content = {"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}
    assert parse_json(ANY, json.dumps(content).encode()) == content


def twice(content: bytes, line: bytes) -> bytes:
    """Sealed content with a line of it doubled, under a digest that fits."""
    body = content.partition(b"\n")[2].replace(line, line + line, 1)
    return b'{"digest": "' + sha256(body).hexdigest().encode() + b'",\n' + body


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.write(make_record(make_capsules(), [ROW]))
    store.write(make_record(make_capsules(seed=1), [ROW]))
    return store


@pytest.mark.parametrize("line", [b' "role": "result",\n', b'     "value": 0.5,\n', b'  "seed": 0,\n'])
def test_a_sealed_record_with_a_key_twice_is_refused(store, line):
    made = make_record(make_capsules(), [ROW])
    content = twice(to_bytes(made), line)
    path = store.record_path(made.cell.id)
    assert len(content) > len(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        store.read(made.cell.id)
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, path)
    assert len(report(store.folder, formats=["csv"]).faults) == 1


def test_a_record_of_schema_1_with_a_key_twice_is_refused(tmp_path):
    cell = write_old(make_record(make_capsules(), [ROW]), tmp_path, ["accuracy"])
    path = tmp_path / "records" / f"{cell}.json"
    path.write_text(path.read_text().replace('"reason": "",', '"reason": "", "reason": "",'))
    assert Store(tmp_path).records()[0] == []


def test_a_note_of_a_run_with_a_key_twice_is_refused(store):
    store.write_run([make_capsules()], "capsbench run")
    (path,) = (store.folder / "runs").glob("*.json")
    path.write_bytes(twice(path.read_bytes(), b' "sequence": 1,\n'))
    assert (store.read_notes().runs, [*store.read_notes().faults]) == ([], [path])


def test_a_file_between_networks_with_a_key_twice_is_refused(store):
    one, other = make_capsules().id, make_capsules(seed=1).id
    row = ROW._replace(measure="transfer", condition=one)
    store.write_between("transfer", one, other, Measurement([row], 1))
    path = store.between_path("transfer", one, other)
    records, _ = store.records()
    assert store.list_unreadable(records) == []
    path.write_bytes(twice(path.read_bytes(), b' "version": 1,\n'))
    (line,) = store.list_unreadable(records)
    assert line.startswith(str(path))


def test_a_list_of_pictures_with_a_key_twice_is_refused(store):
    path = store.folder / "shown" / make_capsules().id / "shown.json"
    path.parent.mkdir(parents=True)
    path.write_text('[{"name": "a", "name": "b", "title": "", "caption": ""}]')
    (fault,) = report(store.folder, formats=["csv"]).faults
    assert fault.startswith(str(path))


def test_a_suite_with_a_key_twice_is_refused(tmp_path):
    path = tmp_path / "suite.toml"
    path.write_text('routing = "em"\nrouting = "dynamic"\n')
    with pytest.raises(UsageError) as caught:
        read_suite(path)
    assert caught.value.flag == "suite"


def test_an_object_of_many_keys_is_read_and_the_one_that_it_has_twice_is_found():
    many = {f"key {number}": number for number in range(100_000)}
    assert parse_json(ANY, json.dumps(many).encode()) == many
    with pytest.raises(UnfitError, match="'key 99999' twice"):
        parse_json(ANY, json.dumps(many).encode()[:-1] + b', "key 99999": 0}')
