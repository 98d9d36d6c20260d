import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.records.file import SCHEMA, from_bytes, is_sealed, seal_json, to_bytes
from capsbench.records.record import Artifact, Failure, Measurement, Record, Row, Segment, Training
from tests.making import make_capsules, make_failed, make_record

HERE, THERE = {"cpu": "a CPU", "torch": "2.15.0"}, {"cpu": "another CPU", "torch": "2.11.0"}

RECORD = Record(
    make_capsules(),
    Training(
        rows=[Row("training", "parameters", "network", 1000, "parameters")],
        history=[{"epoch": 1, "loss": 0.5}],
        versions={"training": 1, "routing": 2},
        provenance=HERE,
        started="2026-01-01T00:00:00+00:00",
        seconds=3.5,
        backends=["cpu"],
        weights=Artifact("weights/a.safetensors", "0" * 64),
        data="1" * 64,
        segments=[Segment(1, "2026-01-01T00:00:00+00:00", 3.5, THERE)],
        run=2,
    ),
    {
        "adversarial": Measurement(
            [Row("adversarial", "robust accuracy", "Linf", 0.5, "fraction", 0.1)], provenance=HERE
        ),
        "adversarial:full": Measurement(
            version=3, provenance=THERE, taken="2026-01-02", seconds=1.0, kept=Artifact("kept/b"), code="abc", run=3
        ),
    },
    {"my.module:Mine": Failure("no luck", "2026-01-01", "Traceback", 1)},
    wanted=["adversarial", "adversarial:full", "my.module:Mine"],
    request={"routing": "em", "iters": 3, "train_size": None, "leaky": True},
    role="trial",
    aliases=["0123456789ab"],
)


def path_of(record: Record) -> Path:
    return Path(f"{record.cell.id}.json")


@pytest.mark.parametrize("record", [RECORD, make_failed(make_capsules(seed=1)), make_record(make_capsules(seed=2))])
def test_what_is_written_is_what_is_read(record):
    assert from_bytes(path_of(record), to_bytes(record)) == record


def test_the_file_is_json_and_names_a_machine_once():
    content = json.loads(to_bytes(RECORD))
    assert (content["schema"], content["id"]) == (SCHEMA, RECORD.cell.id)
    assert content["provenances"] == [THERE, HERE] or content["provenances"] == [HERE, THERE]
    assert is_sealed(to_bytes(RECORD))


def damage(content: bytes, draw: random.Random) -> bytes:
    """The content with a byte changed, left out, doubled or a stretch of it moved."""
    changed = bytearray(content)
    place = draw.randrange(len(changed))
    kind = draw.choice(["flip", "digit", "delete", "double", "cut", "move"])
    if kind == "flip":
        changed[place] ^= 1 << draw.randrange(8)
    elif kind == "digit":
        digits = [i for i, byte in enumerate(changed) if chr(byte).isdigit()]
        place = draw.choice(digits)
        changed[place] = ord("0") + (changed[place] - ord("0") + draw.randint(1, 9)) % 10
    elif kind == "delete":
        del changed[place]
    elif kind == "double":
        changed.insert(place, changed[place])
    elif kind == "cut":
        del changed[place:]
    else:
        stretch = changed[place : place + 20]
        del changed[place : place + 20]
        other = draw.randrange(len(changed) + 1)
        changed[other:other] = stretch
    return bytes(changed)


@pytest.mark.parametrize("seed", range(10))
def test_a_changed_file_is_never_taken(seed):
    draw, content = random.Random(seed), to_bytes(RECORD)
    for _ in range(100):
        changed = damage(content, draw)
        if changed != content:
            with pytest.raises(UsageError) as caught:
                from_bytes(path_of(RECORD), changed)
            assert caught.value.kind is Kind.DAMAGED


def change(**fields):
    """The file of the record with other fields, sealed anew as somebody might who knows how."""
    content = json.loads(to_bytes(RECORD))
    del content["digest"]
    return seal_json({**content, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"role": "weird"},
        {"provenances": []},
        {"provenances": None},
        {"measures": {"accuracy": {"rows": [{"value": "abc"}]}}},
        {"measures": {"accuracy": {"machine": 7}}},
        {"training": {"history": [{"loss": "NaN"}]}},
        {"cell": {}},
        {"id": "0123456789ab"},
        {"training": None, "failures": {}},
        {"aliases": ["../victim"]},
        {"aliases": ["*"]},
        {"training": {"weights": {"path": "../../victim"}}},
        {"training": {"weights": {"path": "/etc/victim"}}},
    ],
)
def test_a_field_that_cannot_be_makes_no_record(fields):
    with pytest.raises(UsageError) as caught:
        from_bytes(path_of(RECORD), change(**fields))
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, path_of(RECORD))


def test_a_newer_schema_is_refused_by_name():
    with pytest.raises(UsageError) as caught:
        from_bytes(path_of(RECORD), change(schema=99))
    assert caught.value.value == 99


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_not_written(number):
    record = Record(make_capsules(), Training([Row("training", "duration", "network", number, "s")]))
    with pytest.raises(ValueError, match="JSON"):
        to_bytes(record)


ROW = Row("accuracy", "accuracy", "test", 0.5, "fraction")


@pytest.mark.parametrize(
    "rows",
    [
        {"accuracy": [ROW, ROW._replace(value=0.99)]},
        {"accuracy": [ROW, ROW._replace(unit="ratio")]},
        {"accuracy": [ROW], "affine": [ROW._replace(value=0.99)]},
    ],
)
def test_a_record_with_a_number_twice_is_refused(tmp_path, rows):
    made = make_record(make_capsules())
    made = replace(made, measures={spec: Measurement(own) for spec, own in rows.items()})
    path = tmp_path / f"{made.cell.id}.json"
    with pytest.raises(UsageError) as caught:
        from_bytes(path, to_bytes(made))
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, path)


def test_levels_and_settings_of_a_measure_have_the_same_numbers(tmp_path):
    made = make_record(make_capsules())
    taken = Measurement([ROW, ROW._replace(level=1.0), ROW._replace(level=2.0)])
    made = replace(made, measures={"affine": taken, "affine:quick": taken})
    assert from_bytes(tmp_path / f"{made.cell.id}.json", to_bytes(made)) == replace(made, wanted=[])


def with_row(row):
    return replace(make_record(make_capsules()), measures={row.measure: Measurement([row])})


@pytest.mark.parametrize(
    "row",
    [
        *(ROW._replace(value=value) for value in (1.7, -0.1, 1e308, -1e308)),
        ROW._replace(metric="majority share", value=-1e308),
        ROW._replace(level=1e31),
        Row("viewpoint", "error", "difference", -1.1, "fraction"),
        Row("equivariance", "R^2", "all", -1e31, "fraction"),
        Row("speed", "duration", "test", 1e308, "s"),
        Row("my.module:Mine", "gain", "test", 1e31, "fraction"),
    ],
)
def test_a_number_that_no_measurement_gives_is_refused(tmp_path, row):
    made = with_row(row)
    path = tmp_path / f"{made.cell.id}.json"
    with pytest.raises(UsageError, match=f"not a whole record .*{re.escape(row.metric)}") as caught:
        from_bytes(path, to_bytes(made))
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, path)


@pytest.mark.parametrize(
    "row",
    [
        *(ROW._replace(value=value) for value in (0.0, 1.0, 1 + 1e-9)),
        Row("viewpoint", "error", "difference", -0.3, "fraction"),
        Row("equivariance", "R^2", "all", -3.0, "fraction"),
        Row("transformation", "presence", "inside, capsule 0", 2.0, "fraction"),
        Row("affine", "retained accuracy", "rotation", 1.2, "ratio"),
        Row("my.module:Mine", "gain", "test", -1.5, "fraction"),
    ],
)
def test_fractions_that_are_no_shares_may_be_outside_0_and_1(tmp_path, row):
    made = with_row(row)
    assert from_bytes(tmp_path / f"{made.cell.id}.json", to_bytes(made)).measures == made.measures


def test_a_row_of_a_measure_in_the_training_is_refused():
    ghost = Row("ghost", "accuracy", "test", 0.5, "fraction")
    damaged = replace(RECORD, training=replace(RECORD.training, rows=[*RECORD.training.rows, ghost]))
    with pytest.raises(UsageError) as refused:
        from_bytes(path_of(damaged), to_bytes(damaged))
    assert (refused.value.kind, refused.value.file) == (Kind.DAMAGED, path_of(damaged))
    assert "ghost accuracy test" in refused.value.problem


@pytest.mark.parametrize("spec", ["../../elsewhere", "/elsewhere", "a/b", "..", "::", ".", "", "a\0b", "a\nb"])
def test_a_measure_whose_name_leads_out_of_its_folder_is_refused(spec):
    odd = replace(RECORD, measures={spec: Measurement([])})
    with pytest.raises(UsageError) as refused:
        from_bytes(path_of(odd), to_bytes(odd))
    assert (refused.value.kind, refused.value.file) == (Kind.DAMAGED, path_of(odd))


@pytest.mark.parametrize("spec", ["accuracy", "adversarial:full", "my.module:Mine:quick", "..a"])
def test_a_measure_whose_name_is_that_of_a_folder_is_read(spec):
    record = replace(RECORD, measures={spec: Measurement([])})
    assert from_bytes(path_of(record), to_bytes(record)).measures == record.measures
