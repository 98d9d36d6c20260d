"""What may go of a folder, and what may not."""

from dataclasses import replace

import pytest

from capsbench.pruning.waste import Networks, find_waste
from capsbench.records.record import TRAINING, Artifact, Failure, Measurement, Row
from capsbench.records.sharing.leases import Leases
from capsbench.records.store import Store
from tests.making import make_capsules, make_failed, make_record

CELL, OTHER = make_capsules(seed=0), make_capsules(seed=1)
GONE = "0123456789ab"
ACCURACY = [Row("accuracy", "accuracy", "test", 0.9, "fraction")]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def put(tmp_path):
    """Writes a file of some bytes into the folder."""

    def write(name, content=b"12345"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return name

    return write


@pytest.fixture
def list_waste(store):
    """Lists (kind, name) of what may go."""

    def list_names(*, weights=False):
        networks = Networks(store, store.records()[0], store.runs())
        waste = find_waste(networks, Leases(store.folder).read_all(), weights=weights)
        return [(file.kind, file.path.relative_to(store.folder).as_posix()) for file in waste]

    return list_names


def train(cell, run=None, **fields):
    record = make_record(cell, ACCURACY, **fields)
    return replace(record, training=replace(record.training, run=run))


def test_the_checkpoint_of_a_trained_network_may_go(store, put, list_waste):
    store.write(train(CELL))
    name = put(f"checkpoints/{CELL.id}.safetensors")
    assert list_waste() == [("checkpoints", name)]


@pytest.mark.parametrize("record", [None, make_failed(CELL), replace(train(CELL), failures={TRAINING: Failure("nan")})])
def test_the_checkpoint_of_a_training_that_is_still_to_be_done_stays(store, put, list_waste, record):
    if record is not None:
        store.write(record)
    put(f"checkpoints/{CELL.id}.safetensors")
    assert list_waste(weights=True) == []


def test_the_checkpoint_of_a_fresh_run_stays_until_that_has_trained(store, put, list_waste):
    store.write(train(CELL, run=1))
    store.write_run([CELL], "capsbench run")
    store.write_run([CELL], "capsbench run --fresh", anew=[CELL.id])
    name = put(f"checkpoints/{CELL.id}.safetensors")
    assert list_waste() == []
    store.write(train(CELL, run=2))
    assert list_waste() == [("checkpoints", name)]


def test_kept_arrays_that_no_record_names_may_go(store, put, list_waste):
    store.write(train(CELL))
    put(f"kept/accuracy/{CELL.id}.safetensors")
    names = [put(f"kept/affine/{CELL.id}.safetensors"), put(f"kept/affine/{GONE}.safetensors")]
    assert sorted(list_waste()) == sorted([("kept", name) for name in names])


def test_kept_arrays_that_another_record_names_stay(store, put, list_waste):
    name = put(f"kept/affine/{GONE}.safetensors")
    store.write(replace(train(CELL), measures={"affine": Measurement(kept=Artifact(name))}))
    assert list_waste() == []


def test_files_of_a_record_that_cannot_be_read_stay(store, put, list_waste):
    store.record_path(CELL.id).parent.mkdir(parents=True)
    store.record_path(CELL.id).write_text("{")
    for name in ("kept/accuracy", "weights", "checkpoints"):
        put(f"{name}/{CELL.id}.safetensors")
    put(f"between/transfer/{CELL.id}/{CELL.id}.json")
    assert list_waste(weights=True) == []


def test_numbers_between_networks_may_go_with_either_of_them(store, put, list_waste):
    store.write(train(CELL))
    store.write(train(OTHER))
    put(f"between/transfer/{CELL.id}/{OTHER.id}.json")
    put(f"between/transfer/{CELL.id}/{CELL.id}.json")
    names = [put(f"between/transfer/{CELL.id}/{GONE}.json"), put(f"between/transfer/{GONE}/{CELL.id}.json")]
    assert sorted(list_waste()) == sorted([("between", name) for name in names])


def test_weights_may_go_only_if_they_are_asked_for(store, put, list_waste):
    store.write(train(CELL))
    names = [put(f"weights/{CELL.id}.safetensors"), put(f"weights/{GONE}.safetensors")]
    assert list_waste() == []
    assert sorted(list_waste(weights=True)) == sorted([("weights", name) for name in names])


@pytest.mark.parametrize(
    "record",
    [
        train(CELL, wanted=["affine"]),
        train(CELL, wanted=["affine"], failures={"affine": "no time"}),
        make_record(CELL),  # trained by `--no-measure`
        replace(train(CELL), failures={TRAINING: Failure("nan")}),
    ],
)
def test_weights_of_a_network_that_is_still_to_be_measured_stay(store, put, list_waste, record):
    store.write(record)
    put(f"weights/{CELL.id}.safetensors")
    assert list_waste(weights=True) == []


def test_what_a_record_of_an_older_identity_names_stays(store, put, list_waste):
    kept, weights = put(f"kept/accuracy/{GONE}.safetensors"), put(f"weights/{GONE}.safetensors")
    record = train(CELL, aliases=[GONE])
    training = replace(record.training, weights=Artifact(weights))
    store.write(replace(record, training=training, measures={"accuracy": Measurement(kept=Artifact(kept))}))
    put(f"between/transfer/{GONE}/{CELL.id}.json")
    assert list_waste() == []
    assert list_waste(weights=True) == [("weights", weights)]


@pytest.mark.parametrize("name", ["kept/affine/mine.safetensors", "weights/mine.safetensors", "kept/notes.txt"])
def test_files_that_capsbench_did_not_name_stay(store, put, list_waste, name):
    store.write(train(CELL))
    put(name)
    assert list_waste(weights=True) == []
