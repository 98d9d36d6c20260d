"""Where `capsbench.network` looks for a network, and what it refuses to load."""

import shutil
import sys
from pathlib import Path

import pytest

import capsbench as python_api
from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.predicting import split_place
from capsbench.records.store import Store


@pytest.fixture
def cell(put, tmp_path, monkeypatch):
    """A network in ``results`` in the working directory."""
    monkeypatch.chdir(tmp_path)
    return put(routing="em", dataset="digits")


def test_a_cell_by_hash_conditions_title_and_path(cell, tmp_path):
    folder = tmp_path / "results"
    for place in (
        (), (None,), (cell.id,), ("routing=em",), ("em x2",), ("results",), (f"results/{cell.id}",), ("results/em x2",),
        (folder,), (folder / cell.id[:6],), (str(folder),), (cell.id, folder), ("em", "results"),
    ):  # fmt: skip
        assert python_api.network(*place).cell.id == cell.id


def test_a_word_that_is_neither_a_folder_nor_a_cell_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        python_api.network("elsewhere")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.MISSING, "CELL", "elsewhere")
    assert caught.value.file is None


@pytest.mark.parametrize("place", ["nowhere/em", Path("nowhere"), Path("nowhere/em"), "results/weights"])
def test_a_path_to_nothing_is_named(cell, place):
    with pytest.raises(UsageError) as caught:
        python_api.network(place)
    assert not isinstance(caught.value, NothingMeasured)
    assert (caught.value.kind, caught.value.file) == (Kind.MISSING, Path(place))


def test_a_condition_that_holds_a_path_is_no_path(cell):
    assert split_place("dataset=folder:my/images", Path("results")) == (Path("results"), "dataset=folder:my/images")


def test_changed_and_missing_weights_are_one_line(cell):
    store = Store("results")
    path = store.weights_path(cell.id)
    content = path.read_bytes()
    path.write_bytes(content[:-4] + b"\0\0\0\1" + b"\0")
    with pytest.raises(UsageError) as changed:
        python_api.network()
    assert (changed.value.kind, changed.value.file) == (Kind.DAMAGED, path)
    path.unlink()
    with pytest.raises(UsageError) as missing:
        python_api.network("em")
    assert (missing.value.kind, missing.value.flag) == (Kind.MISSING, "CELL")
    for caught in (changed, missing):
        assert "\n" not in str(caught.value)


def test_weights_with_another_digest_than_on_record_are_refused(trained, tmp_path):
    shutil.copytree(trained / "results", tmp_path / "copy")
    store = Store(tmp_path / "copy")
    records, _ = store.records()
    (capsules,) = (record for record in records if record.cell.has_routing)
    (cnn,) = (record for record in records if not record.cell.has_routing)
    shutil.copy(store.weights_of(cnn), store.weights_of(capsules))
    with pytest.raises(UsageError) as caught:
        python_api.network("dynamic", tmp_path / "copy")
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, store.weights_of(capsules))
    assert "digest" in caught.value.problem


OWN = """
from capsbench.routing.uniform import UniformRouting

class Mine(UniformRouting):
    pass
"""


@pytest.fixture
def own(put, tmp_path, monkeypatch):
    """A network with a routing of one's own, in a module that Python finds; nobody has named it yet."""
    name = f"mine_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    cell = put(routing=f"{name}:Mine", dataset="digits")
    monkeypatch.setattr(python_api.registry, "_trusted", set())
    yield cell, tmp_path / f"{name}.py"
    sys.modules.pop(name, None)


def test_a_routing_that_a_record_names_is_imported_if_that_is_allowed(own):
    with pytest.raises(UsageError) as caught:
        python_api.network()
    assert caught.value.kind is Kind.UNTRUSTED
    assert python_api.network(allow_code=True).cell.routing == own[0].routing


def test_a_routing_that_was_edited_or_is_gone_is_named(own):
    cell, file = own
    file.write_text(OWN.replace("pass", "steps = 2"))
    with pytest.raises(UsageError) as edited:
        python_api.network(allow_code=True)
    assert (edited.value.kind, edited.value.flag) == (Kind.CONFLICT, "CELL")
    assert f"routing {cell.routing}" in edited.value.problem
    file.unlink()
    sys.modules.pop(file.stem)
    with pytest.raises(UsageError) as gone:
        python_api.network(allow_code=True)
    assert (gone.value.kind, gone.value.flag, gone.value.value) == (Kind.MISSING, "routing", cell.routing)
