"""Images of any number of classes from a table to predictions: trained on, measured, predicted, and taken elsewhere."""

import json

import pytest
from PIL import Image

import capsbench as python_api
from capsbench.errors import Kind, UsageError
from capsbench.records.store import Store
from capsbench.records.table import predictions
from tests.scattered import draw_scattered

NAMES = ("bar", "ring", "spot")


@pytest.fixture(scope="module")
def made(tmp_path_factory, one_process):
    """A folder with a table of images, and a capsule network and a CNN that were trained on them for an epoch."""
    folder = tmp_path_factory.mktemp("any")
    images, labels = draw_scattered(40)
    lines = ["file,labels"]
    for number, (image, shown) in enumerate(zip(images, labels.tolist(), strict=True)):
        pixels = (image[0] * 200 + number).byte().numpy()
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{'|'.join(name for name, is_shown in zip(NAMES, shown, strict=True) if is_shown)}")
    (folder / "shapes.csv").write_text("\n".join(lines))
    with one_process():
        python_api.run(
            dataset=f"csv:{folder / 'shapes.csv'}", routing="dynamic", iters=1, seeds=0, epochs=1, batch=8, baseline="matched",
            measure="accuracy,average-precision", device="cpu", out=folder / "results",
        )  # fmt: skip
    return folder


def test_numbers_and_predictions_of_both_are_on_record(made):
    records, faults = Store(made / "results").records()
    assert not faults
    assert {(record.cell.network, record.cell.loss) for record in records} == {
        ("capsnet", "margin"),
        ("matched", "sigmoid"),
    }
    table = predictions(made / "results")
    for record in records:
        numbers = {row[:3]: row.value for row in record.rows}
        kept = table[table["cell"] == record.cell.id]
        assert numbers["accuracy", "accuracy", "test"] == pytest.approx(kept["correct"].mean())
        assert (kept["label"] == kept["prediction"]).tolist() == kept["correct"].tolist()
        assert 0 < numbers["average-precision", "mean average precision", "test"] <= 1
        assert record.history[0]["validation_accuracy"] == numbers["accuracy", "accuracy", "validation"]
    assert {len(label) for label in table["label"]} > {0, 1}


@pytest.mark.parametrize(("cell", "kind"), [("dynamic", "activation"), ("matched", "presence")])
def test_every_class_above_the_threshold_is_predicted(made, cell, kind):
    network = python_api.network(cell, made / "results")
    for prediction in network.predict([made / f"{number}.png" for number in range(8)]):
        assert prediction.kind == kind
        assert set(prediction.classes) == set(NAMES)
        assert prediction.labels == tuple(
            name for name, score in zip(prediction.classes, prediction.scores, strict=True) if score > 0.5
        )
        assert prediction.label == " ".join(prediction.labels)
        assert (
            prediction.reconstruction is None if cell == "matched" else prediction.reconstructions.shape == (1, 1, 8, 8)
        )


def test_it_is_read_again_from_a_folder_of_a_hub(made, monkeypatch):
    monkeypatch.chdir(made)
    python_api.export("dynamic", "hub", made / "hub")
    config = json.loads((made / "hub" / "config.json").read_text())
    assert (config["labels_an_image"], config["classes"]) == (0, list(NAMES))
    one, other = python_api.network("dynamic"), python_api.network(made / "hub")
    assert other.predict(made / "7.png").labels == one.predict(made / "7.png").labels
    assert "mean average precision" in (made / "hub" / "README.md").read_text()


def test_the_command_says_which_classes_are_predicted(made, capsbench):
    done = capsbench("predict", "results", "7.png", "--cell", "matched", "--json", cwd=made)
    (entry,) = json.loads(done.stdout)["images"]
    assert entry["predicted"] == [of_class["class"] for of_class in entry["classes"] if of_class["score"] > 0.5]
    assert capsbench("predict", "results", "7.png", "--cell", "dynamic", cwd=made).stdout.count("yes") == len(
        python_api.network("dynamic", made / "results").predict(made / "7.png").labels
    )


def test_a_measure_that_needs_a_known_number_of_classes_says_so(made):
    with pytest.raises(UsageError) as caught:
        python_api.measure(made / "results", measure="affine")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.CONFLICT, "measure", "affine")
    assert "csv:shapes.csv" in caught.value.problem


def test_a_report_of_both_has_the_exact_match_and_the_mean_average_precision(made):
    python_api.report(made / "results", to=made / "report")
    assert (made / "report" / "average-precision.csv").is_file()
    page = (made / "report" / "table.md").read_text()
    assert "exact match" in page
    assert "mean average precision" in page
