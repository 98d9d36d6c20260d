"""What the documents show is run."""

import ast
import random
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import capsbench
from capsbench import registry
from capsbench.networks.build import build_network
from capsbench.records.store import Store
from capsbench.records.tuning.trials import read_trials
from capsbench.running.estimate import Estimate
from capsbench.running.runner import Runner
from capsbench_kernels import dynamic_routing

CHECKOUT = Path(__file__).parent.parent
DOCS = CHECKOUT / "docs"


EXAMPLE = re.compile(r"[Ss]aved? (?:it )?as `(\w+)\.py`.*?```python\n(.*?)```", flags=re.DOTALL)
"""A file's name, and the code that a document has for it."""

QUICK = dict(routing="dynamic", iters=1, seeds=0, baseline="none", train_size=20, epochs=2, measure="accuracy")

COMMAND = re.compile(r"^\$ capsbench (run .*)$", flags=re.MULTILINE)


@pytest.fixture
def write_examples(tmp_path, monkeypatch):
    """Writes the files that a document shows into a new working directory."""
    modules = []

    def write(document: str) -> dict[str, str]:
        examples = dict(EXAMPLE.findall((DOCS / document).read_text()))
        for name, code in examples.items():
            (tmp_path / f"{name}.py").write_text(code)
        modules.extend(examples)
        return examples

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield write
    for name in modules:
        sys.modules.pop(name, None)


@pytest.fixture
def kmeans(write_examples):
    """The code of docs/own-routing.md."""
    return write_examples("own-routing.md")["kmeans"]


def draw_shapes(folder: Path, images: int, generator: random.Random) -> None:
    """Draws the image files of docs/own-data.md: 5x5 bars, crosses and rings, each at a random position."""
    lines = {
        "bar": [(2, 0, 2, 4)],
        "cross": [(2, 0, 2, 4), (0, 2, 4, 2)],
        "ring": [(0, 0, 4, 0), (0, 4, 4, 4), (0, 0, 0, 4), (4, 0, 4, 4)],
    }
    for name, strokes in lines.items():
        (folder / name).mkdir(parents=True)
        for index in range(images):
            image = Image.new("L", (12, 12))
            x, y = generator.randrange(8), generator.randrange(8)
            for x0, y0, x1, y1 in strokes:
                ImageDraw.Draw(image).line((x + x0, y + y0, x + x1, y + y1), fill=255)
            image.save(folder / name / f"{index:03}.png")


@pytest.fixture
def shapes(write_examples, tmp_path):
    """The code of docs/own-data.md, with its image files."""
    generator = random.Random(0)
    draw_shapes(tmp_path / "shapes" / "train", 60, generator)
    draw_shapes(tmp_path / "shapes" / "test", 30, generator)
    draw_shapes(tmp_path / "photos", 9, generator)
    files = sorted((tmp_path / "photos").glob("*/*.png"))
    lines = [f"{file},{file.parent.name}" for file in files]
    (tmp_path / "shapes.csv").write_text("\n".join(["file,label", *lines]))
    several = [("", file.parent.name, f"{file.parent.name}|first")[place % 3] for place, file in enumerate(files)]
    lines = [f"{file},{labels}" for file, labels in zip(files, several, strict=True)]
    (tmp_path / "scenes.csv").write_text("\n".join(["file,labels", *lines]))
    images = np.stack([np.array(Image.open(file)) for file in files])
    np.savez(tmp_path / "shapes.npz", images=images, labels=[file.parent.name for file in files])
    return write_examples("own-data.md")["shapes"]


def run_examples(**request):
    """Runs a request without a failure, and returns its table of test accuracies."""
    outcome = capsbench.run(**request, seeds=0, measure="accuracy", out="results")
    assert not outcome.failed, outcome.failed
    table = capsbench.load("results")
    return table[(table["metric"] == "accuracy") & (table["condition"] == "test")]


def count_lines(code: str) -> int:
    """Counts the lines of the class in a worked example."""
    return len([line for line in code.partition("class ")[2].splitlines() if line.strip()])


@pytest.mark.usefixtures("in_one_process")
def test_the_worked_example_is_short_and_trains(kmeans):
    assert count_lines(kmeans) <= 20
    accuracy = run_examples(routing="kmeans:KMeansRouting", iters=[1, 2], sharpness=[0.5], epochs=6, baseline="none")
    assert len(accuracy) == 2
    assert (accuracy["value"] > 0.5).all()  # chance is 0.1
    assert (accuracy["routing.sharpness"] == 0.5).all()


@pytest.mark.usefixtures("in_one_process")
def test_the_own_data_set_is_short_and_trains(shapes):
    assert count_lines(shapes) <= 20
    accuracy = run_examples(dataset="shapes:Shapes", routing="dynamic", iters=1, baseline="matched")
    assert set(accuracy["network"]) == {"capsnet", "matched"}
    assert set(accuracy["epochs"]) == {20}
    assert (accuracy["value"] > 0.6).all()  # chance is 0.33


def test_a_changed_image_makes_another_cell(shapes):
    request = dict(dataset="shapes:Shapes", routing="dynamic", baseline="none", seeds=0)
    (before,) = capsbench.cells(**request)
    Image.new("L", (12, 12)).save("shapes/test/bar/000.png")
    (after,) = capsbench.cells(**request)
    assert before.id != after.id


@pytest.mark.usefixtures("in_one_process")
def test_the_own_network_baseline_and_loss_train_together(write_examples):
    examples = write_examples("own-network.md")
    assert set(examples) == {"deep", "strided", "focal", "plain"}
    accuracy = run_examples(
        network="deep:DeepCapsNet", iters=1, width=8, baseline="strided:StridedCNN", baseline_size="own,matched",
        loss="focal:FocalLoss", gamma=0.5, epochs=5,
    )  # fmt: skip
    assert (accuracy["value"] > 0.5).all()  # chance is 0.1
    capsules = accuracy[accuracy["network"] == "deep:DeepCapsNet"]
    assert capsules[["network.width", "loss", "loss.gamma"]].values.tolist() == [[8, "focal:FocalLoss", 0.5]]
    cnns = accuracy[accuracy["network"] == "strided:StridedCNN"]
    assert sorted(cnns["network.parameters"] > 0) == [False, True]
    assert set(cnns["loss"]) == {"cross-entropy"}


@pytest.mark.usefixtures("in_one_process", "without_pictures")
def test_a_function_and_a_network_of_a_library_are_baselines_beside_ours(write_examples):
    write_examples("own-network.md")
    baselines = ["plain:make_net", "torchvision:shufflenet_v2_x0_5", "matched"]
    accuracy = run_examples(routing="dynamic", iters=1, baseline=baselines, train_size=20, epochs=2)
    assert {*accuracy["network"]} == {"capsnet", *baselines}
    capsbench.report("results")
    page = Path("results/report/index.html").read_text()
    assert all(name in page for name in baselines)


@pytest.mark.usefixtures("in_one_process")
def test_the_weights_of_the_network_document_are_measured_without_training(write_examples, monkeypatch, tmp_path):
    write_examples("own-network.md")
    monkeypatch.syspath_prepend(str(tmp_path))
    (code,) = re.findall(r"```python\n(import torch\n.*?)```", (DOCS / "own-network.md").read_text(), flags=re.DOTALL)
    exec(code, {})
    accuracy = run_examples(network="plain:make_net", weights="plain.pt")
    assert accuracy[["epochs", "seed"]].values.tolist() == [[0, 0]]
    assert set(capsbench.load("results")["metric"]).isdisjoint({"duration", "epochs"})


@pytest.mark.usefixtures("in_one_process")
def test_the_own_tracker_is_short_and_writes_what_is_on_record(write_examples):
    code = write_examples("tracking.md")["csv_tracker"]
    assert count_lines(code) <= 25
    capsbench.run(**QUICK, track="csv_tracker:CsvTracker", out="results")
    (record,) = Store("results").records()[0]
    (file,) = Path("results/tracking/csv_tracker.CsvTracker").iterdir()
    assert file.stem == record.cell.id
    lines = [line.split(",") for line in file.read_text().splitlines()]
    assert [float(line[2]) for line in lines if line[1] == "loss"] == [entry["loss"] for entry in record.history]
    assert [float(line[2]) for line in lines if line[1] == "accuracy/accuracy/test"] == [
        row.value for row in record.rows if row[:3] == ("accuracy", "accuracy", "test")
    ]
    assert lines[-1] == ["", "finished", ""]


@pytest.mark.usefixtures("in_one_process")
def test_the_listener_of_the_tracking_document_has_the_curves(tmp_path, monkeypatch):
    *_, code = re.findall(r"```python\n(.*?)```", (DOCS / "tracking.md").read_text(), flags=re.DOTALL)
    quick = code.replace('routing="em", iters=[1, 2]', "**QUICK")
    assert quick != code
    monkeypatch.chdir(tmp_path)
    names = {"QUICK": QUICK}
    exec(quick, names)
    (record,) = Store("results").records()[0]
    assert names["curves"].losses == {record.cell.title: [entry["loss"] for entry in record.history]}
    assert names["curves"].ended == [(record.cell.title, "finished")]


@pytest.mark.usefixtures("in_one_process", "without_pictures")
def test_the_own_tuner_of_the_tuning_document_reaches_every_contender(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "tuning.md").read_text(), flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 15
    quick = code.replace('routing="em", dataset="digits", trials=20', "trials=2, **QUICK").replace(
        "n_trials=20", "n_trials=2"
    )
    assert quick.count("20") == 0
    monkeypatch.chdir(tmp_path)
    exec(quick, {"QUICK": {**QUICK, "baseline": "matched"}})
    results, _ = Store("results/mine").records()
    assert {record.cell.network for record in results} == {"capsnet", "matched"}
    assert {record.tuning.sampler for record in results} == {"own"}
    assert len(read_trials(Path("results/mine"))) == 4


@pytest.mark.parametrize("routing", registry.names("routing"))
def test_the_own_network_runs_with_every_routing(write_examples, routing):
    write_examples("own-network.md")
    registry.trust(["deep:DeepCapsNet"])
    for reconstruction in (True, False):
        (cell,) = capsbench.cells(
            network="deep:DeepCapsNet", routing=routing, reconstruction=reconstruction, seeds=0, baseline="none"
        )
        activations = build_network(cell)(torch.rand(2, 1, 8, 8))
        assert activations.shape == (2, 10)
        assert ((activations >= 0) & (activations <= 1)).all()


@pytest.mark.usefixtures("shapes", "in_one_process")
@pytest.mark.parametrize(
    "document", ["own-routing.md", "own-data.md", "own-network.md", "own-measure.md", "own-attack.md", "tracking.md"]
)
def test_the_commands_of_the_worked_examples_can_be_planned(write_examples, capsbench, tmp_path, monkeypatch, document):
    write_examples(document)
    monkeypatch.setattr("capsbench.running.estimate.estimate_duration", lambda *arguments: Estimate())
    # Commands on a file of weights have a test of their own, which makes the file.
    commands = [line for line in COMMAND.findall((DOCS / document).read_text()) if "--weights" not in line]
    assert commands
    for command in commands:
        result = capsbench(*shlex.split(command), "--dry-run", cwd=tmp_path)
        assert result.returncode == 0, result.stderr


@pytest.mark.usefixtures("in_one_process")
def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS.parent / "README.md").read_text(), flags=re.DOTALL)
    quick = code.replace(
        'dataset="mnist", train_size=12000', 'train_size=40, epochs=1, seeds=[0, 1], measure="accuracy"'
    )
    assert quick != code
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(quick, names)
    assert len(names["accuracy"]) == 2 * (2 * 2 + 2)  # seeds x (routings x iterations + a CNN a network)
    assert set(names["accuracy"]["metric"]) == {"accuracy"}


def test_an_edited_routing_is_run_again(kmeans):
    request = dict(routing="kmeans:KMeansRouting", seeds=0, baseline="none")
    (before,) = capsbench.cells(**request)
    Path("kmeans.py").write_text(kmeans + "\nKMeansRouting.edited = True\n")
    (after,) = capsbench.cells(**request)
    assert before.id != after.id


@pytest.mark.usefixtures("in_one_process")
def test_a_routing_edited_during_the_run_is_not_recorded_as_what_it_was(kmeans, monkeypatch):
    def edit(*arguments, **names):
        Path("kmeans.py").write_text(kmeans + "\nKMeansRouting.edited = True\n")
        return Runner(*arguments, **names)

    monkeypatch.setattr("capsbench.running.machines.choose_runner", lambda executor: edit)
    outcome = capsbench.run(
        routing="kmeans:KMeansRouting", train_size=40, epochs=1, seeds=0, baseline="none", out="results"
    )
    (failed,) = outcome.failed
    assert failed.training is None
    assert "routing kmeans:KMeansRouting" in failed.reason


def test_the_routing_of_the_kernels_document_is_short_and_runs():
    code, _ = re.findall(r"```python\n(.*?)```", (DOCS / "kernels.md").read_text(), flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    names = {}
    exec(code, names)
    assert names["weights"].grad.isfinite().all()
    assert names["weights"].grad.any()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the exporters' own
def test_the_export_of_the_kernels_document_runs(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    _, code = re.findall(r"```python\n(.*?)```", (DOCS / "kernels.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    routed = torch.export.load("routing.pt2").module()(*names["inputs"])
    torch.testing.assert_close(routed, dynamic_routing(*names["inputs"]), rtol=1e-4, atol=1e-5)
    assert Path("routing.onnx").stat().st_size > 0


def find_definitions(path: Path) -> set[str]:
    """Returns the names that a module defines at its top level."""
    names = set()
    for statement in ast.parse(path.read_text()).body:
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        names |= {target.id for target in targets if isinstance(target, ast.Name)} | {getattr(statement, "name", "")}
    return names


def test_the_files_and_names_of_contributing_exist():
    text = (CHECKOUT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:[\w.-]+/)*[\w.-]+\.py|(?:[\w.-]+/)+)(?::(\w+))?`", text)
    assert len(paths) > 50
    for file, name in paths:
        start = file.partition("NAME")[0]  # the folder of a placeholder
        targets = [path for root in (CHECKOUT, CHECKOUT / "capsbench") if (path := root / start).exists()]
        assert targets, file
        assert not name or name in find_definitions(targets[0]), f"{file}:{name}"


def find_anchors(document: Path) -> set[str]:
    """Returns the anchors that GitHub gives the headings of a document: lower case, spaces as hyphens, no punctuation."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "results/README.md",
        *(f"docs/{path.name}" for path in sorted(DOCS.glob("*.md"))),
    ],
)
def test_links_within_the_project_lead_somewhere(document):
    path = DOCS.parent / document
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", path.read_text())
    for file, anchor in links:
        if not file.startswith("http"):
            target = path.parent / file if file else path
            assert target.exists(), f"{document}: {file}"
            assert not anchor or anchor in find_anchors(target), f"{document}: {file}#{anchor}"
