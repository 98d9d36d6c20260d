"""A folder for a hub: it is loaded as it is, and its card says what is on record."""

import hashlib
import json
import re
import sys

import pytest
import yaml

import capsbench as python_api
from capsbench.data.base import load_splits
from capsbench.errors import Kind, UsageError
from capsbench.records.record import Row
from capsbench.records.store import Store
from tests.making import make_record


@pytest.fixture
def folder(trained, tmp_path):
    python_api.export("dynamic", "hub", tmp_path / "capsnet-digits", folder=trained / "results")
    return tmp_path / "capsnet-digits"


def read_card(folder):
    """Returns the header of a card, and its text."""
    _, header, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(header), text


def test_the_folder_alone_gives_the_same_predictions(trained, folder):
    images = load_splits("digits", None).test.images[:20]
    original, loaded = python_api.network("dynamic", trained / "results"), python_api.network(folder)
    assert loaded.cell == original.cell
    assert loaded.title == original.title
    assert [one.scores for one in loaded.predict(images)] == [one.scores for one in original.predict(images)]


def test_the_folder_has_three_files_and_the_digest_of_the_weights(folder):
    assert {path.name for path in folder.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    config = json.loads((folder / "config.json").read_text())
    assert config["weights_sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_an_earlier_export_is_replaced_and_files_of_git_stay(trained, folder):
    (folder / ".gitattributes").write_text("mine")
    python_api.export("matched", "hub", folder, folder=trained / "results")
    assert python_api.network(folder).cell.network == "matched"
    assert (folder / ".gitattributes").read_text() == "mine"


def test_an_edited_card_is_not_replaced(trained, folder):
    card, weights = folder / "README.md", (folder / "model.safetensors").read_bytes()
    whole = card.read_text()
    card.write_text(whole.replace("---\n", "---\nlicense: mit\n", 1))
    with pytest.raises(UsageError) as caught:
        python_api.export("matched", "hub", folder, folder=trained / "results")
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.CONFLICT, "out", card)
    assert "license: mit" in card.read_text()
    assert (folder / "model.safetensors").read_bytes() == weights
    card.unlink()
    python_api.export("matched", "hub", folder, folder=trained / "results")
    assert python_api.network(folder).cell.network == "matched"


def test_an_export_that_was_cut_off_before_its_end_is_done_again(trained, folder):
    before = (folder / "config.json").read_bytes()
    python_api.export("matched", "hub", folder, folder=trained / "results")
    (folder / "config.json").write_bytes(before)  # which is written last
    python_api.export("matched", "hub", folder, folder=trained / "results")
    assert python_api.network(folder).cell.network == "matched"


def test_the_header_of_the_card_has_the_accuracy_on_record(trained, folder):
    header, text = read_card(folder)
    table = python_api.load(trained / "results").query("routing == 'dynamic' and metric == 'accuracy'")
    (accuracy,) = table.query("condition == 'test'")["value"]
    (result,) = header["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == accuracy
    assert result["dataset"]["type"] == "digits"
    assert header["pipeline_tag"] == "image-classification"
    assert f"{100 * accuracy:.2f} %" in text


def test_the_card_says_how_the_network_was_trained_and_on_what(trained, folder):
    _, text = read_card(folder)
    (record,) = (record for record in Store(trained / "results").records()[0] if record.cell.has_routing)
    for fact in (
        "CC BY 4.0",
        "Alpaydin, Kaynak 1998",
        record.provenance["torch"],
        "capsbench run",
        "capsbench.network",
    ):
        assert fact in text
    for heading in ("Results", "Input and output", "Training", "Data", "Limits", "Loading"):
        assert f"\n## {heading}\n" in text


def test_several_seeds_have_an_interval_and_marks_are_limits(put, tmp_path):
    """Three seeds, one of which says one class of ten."""
    store = Store(tmp_path / "results")
    for seed, accuracy in enumerate((0.9, 0.8, 0.1)):
        cell = put(routing="dynamic", dataset="digits", seeds=seed)
        rows = [
            Row("accuracy", "accuracy", "test", accuracy, "fraction"),
            Row("accuracy", "images", "test", 500.0, "images"),
            Row("accuracy", "largest predicted share", "test", 1.0 if seed == 2 else 0.11, "fraction"),
            Row("accuracy", "majority share", "test", 0.1, "fraction"),
        ]
        store.write(make_record(cell, rows))
    texts = {}
    for seed in (0, 2):
        python_api.export(f"seeds={seed}", "hub", tmp_path / f"seed{seed}", folder=store.folder)
        texts[seed] = read_card(tmp_path / f"seed{seed}")[1]
        assert "60.0" in texts[seed]  # the mean
        assert "seeds 0, 1, 2" in texts[seed]
    assert "Collapsed" not in texts[0]
    assert "Collapsed" in texts[2]


def test_a_record_cannot_write_the_card(put, tmp_path):
    """Names in a record may come from anyone; they stay text."""
    store = Store(tmp_path / "results")
    cell = put(routing="dynamic", dataset="digits")
    evil = "x\n---\nlicense: mit\n# <script>|`"
    store.write(make_record(cell, provenance={"torch": evil}, request={"routing": evil}))
    python_api.export(store.folder, "hub", tmp_path / "hub")
    header, text = read_card(tmp_path / "hub")
    assert "license" not in header
    assert "\n# \\<script" not in text
    shown = re.sub(r"(`+).*?\1", "", text)  # without code
    assert "<script>" not in shown.replace("\\<script>", "")


def test_a_changed_file_is_named(folder):
    weights, config = folder / "model.safetensors", folder / "config.json"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UsageError) as caught:
        python_api.network(folder)
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, weights)
    for text in ("{}", "no JSON", json.dumps(json.loads(config.read_text()) | {"cell": {"dataset": 3}})):
        config.write_text(text)
        with pytest.raises(UsageError) as caught:
            python_api.network(folder)
        assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, config)
        assert "\n" not in str(caught.value)


def test_a_configuration_imports_code_only_if_that_is_allowed(folder, tmp_path, monkeypatch):
    (tmp_path / "evil_hub.py").write_text(f'open({str(tmp_path / "ran")!r}, "w").close()\nclass Evil: ...\n')
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    config = json.loads((folder / "config.json").read_text())
    config["cell"]["routing"] = "evil_hub:Evil"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError) as caught:
        python_api.network(folder)
    assert caught.value.kind is Kind.UNTRUSTED
    assert not (tmp_path / "ran").exists()
    with pytest.raises(UsageError):
        python_api.network(folder, allow_code=True)
    assert (tmp_path / "ran").exists()
    sys.modules.pop("evil_hub", None)


def test_a_folder_of_a_hub_is_exported_to_other_formats_but_not_to_itself(folder, tmp_path):
    result = python_api.export(folder, "safetensors", tmp_path / "again.safetensors")
    assert result.checked.difference == 0
    with pytest.raises(UsageError) as caught:
        python_api.export(folder, "hub", tmp_path / "other")
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "CELL")
