"""Records, and notes of runs, whose bytes were changed: none is taken for another one, and each is named."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from capsbench.errors import Kind, UsageError
from capsbench.records.file import from_bytes, to_bytes
from capsbench.records.record import Failure, Record, Row
from capsbench.records.store import Store
from tests.making import make_capsules, make_record

LENGTHS = pytest.mark.parametrize("count", [300, pytest.param(3000, marks=pytest.mark.slow)])


def record() -> Record:
    rows = [
        Row("training", "parameters", "network", 1000.0, "parameters"),
        Row("accuracy", "accuracy", "test", 0.987, "fraction"),
        Row("affine", "accuracy", "rotation", 0.5, "fraction", 15.0),
    ]
    made = make_record(
        make_capsules(), rows, history=[{"epoch": 1, "loss": 0.9}], provenance={"cpu": "a CPU"}, aliases=["0" * 12]
    )
    return replace(made, failures={"speed": Failure("killed")}, request={"routing": "em", "seeds": 0})


def changed(content: bytes, chance: random.Random) -> bytes:
    """The content with a byte, or some, changed, left out, put in, swapped, doubled, or cut off."""
    at, to = sorted(chance.sample(range(len(content)), 2))
    byte = bytes([chance.randrange(256)])
    ways: list[Callable[[], bytes]] = [
        lambda: content[:at] + byte + content[at + 1 :],
        lambda: content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :],
        lambda: content[:at] + content[at + 1 :],
        lambda: content[:at] + byte + content[at:],
        lambda: content[:at] + content[to:],
        lambda: content[:to] + content[at:],
        lambda: content[:at],
        lambda: content[:at] + content[to : to + 1] + content[at + 1 : to] + content[at : at + 1] + content[to + 1 :],
    ]
    return chance.choice(ways)()


def changes(content: bytes, count: int) -> list[bytes]:
    """So many changed contents, the same ones each time."""
    chance = random.Random(18)
    made: list[bytes] = []
    while len(made) < count:
        made += [other] if (other := changed(content, chance)) != content else []
    return made


@LENGTHS
def test_no_changed_record_is_read(count: int) -> None:
    made = record()
    path = Path("records") / f"{made.cell.id}.json"
    assert from_bytes(path, to_bytes(made)) == made
    for content in changes(to_bytes(made), count):
        with pytest.raises(UsageError) as caught:
            from_bytes(path, content)
        assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, path)


@LENGTHS
def test_no_changed_file_of_a_folder_is_taken_for_a_record_or_a_note(tmp_path: Path, count: int) -> None:
    store, made = Store(tmp_path), record()
    store.write(made)
    store.write_run([made.cell], "capsbench run")
    (note,) = (tmp_path / "runs").glob("*.json")
    path = store.record_path(made.cell.id)
    whole, run = path.read_bytes(), store.runs()
    for content in changes(whole, count // 2):
        path.write_bytes(content)
        records, faults = store.records()
        assert (records, len(faults)) == ([], 1)
        assert faults[0].startswith(f"{path}: ")
    whole = note.read_bytes()
    for content in changes(whole, count // 2):
        note.write_bytes(content)
        assert (store.runs(), [*store.read_notes().faults]) == ([], [note])
    note.write_bytes(whole)
    assert store.runs() == run


@pytest.mark.parametrize(("before", "after"), [(b"0.987", b"0.997"), (b"1000.0", b"1001.0"), (b'"em"', b'"es"')])
def test_an_edited_number_or_name_is_refused(tmp_path: Path, before: bytes, after: bytes) -> None:
    store, made = Store(tmp_path), record()
    store.write(made)
    path = store.record_path(made.cell.id)
    assert before in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(before, after))
    with pytest.raises(UsageError) as caught:
        store.read(made.cell.id)
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, path)


def test_weights_with_one_changed_number_and_those_of_another_network_are_refused(tmp_path: Path) -> None:
    store, made = Store(tmp_path), record()
    assert made.training is not None
    path = store.weights_path(made.cell.id)
    artifact = store.write_tensors(path, {"weight": torch.arange(4.0)})
    made = replace(made, training=replace(made.training, weights=artifact))
    assert store.read_weights(made)["weight"].tolist() == [0, 1, 2, 3]
    for other in (torch.tensor([0.0, 1.0, 2.0, 3.5]), torch.zeros(2)):
        store.write_tensors(path, {"weight": other})
        with pytest.raises(UsageError) as caught:
            store.read_weights(made)
        assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, path)
