"""Events and files as they travel between machines."""

import pickle

import pytest

from capsbench.errors import TrainingFailed
from capsbench.records.record import Artifact
from capsbench.records.store import Store
from capsbench.running.events import Checkpointed, Measuring
from capsbench.running.executors.base import Job, Place
from capsbench.running.executors.ray.parcel import do_work, pack_work, read_files


def work(word, place, send):
    if word == "fail":
        raise TrainingFailed("the loss became nan")
    path = place.store.folder / "checkpoints" / "a.safetensors"
    path.parent.mkdir()
    path.write_bytes(word.encode())
    send(Measuring(word))
    send(Checkpointed(Artifact("checkpoints/a.safetensors")))
    return len(word)


@pytest.fixture
def place(tmp_path):
    return Place(Store(tmp_path / "there"), tmp_path)


def test_an_event_takes_along_the_files_that_it_names(place, tmp_path):
    place.store.folder.mkdir()
    sent = []
    assert pickle.loads(do_work(pack_work(Job("a", work, ("state",))), place, sent.append)) == 5
    plain, parcel = map(pickle.loads, sent)
    assert (plain.event, plain.files) == (Measuring("state"), {})
    assert parcel.event == Checkpointed(Artifact("checkpoints/a.safetensors"))
    parcel.write_files(tmp_path / "here")
    assert (tmp_path / "here/checkpoints/a.safetensors").read_bytes() == b"state"


def test_a_failure_is_raised_as_it_is(place):
    with pytest.raises(TrainingFailed, match="nan"):
        do_work(pack_work(Job("a", work, ("fail",))), place, print)


def test_files_that_do_not_exist_are_left_out(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/a").write_bytes(b"1")
    assert read_files(tmp_path, ["weights/a", "weights/b", "weights"]) == {"weights/a": b"1"}
