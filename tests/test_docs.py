"""What the documents show is run."""

import re
import sys
from pathlib import Path

import pytest

import capsbench
from capsbench.running.runner import run_cells

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture
def kmeans(tmp_path, monkeypatch):
    """The module of docs/own-routing.md, in the folder one works in."""
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "own-routing.md").read_text(), flags=re.DOTALL)
    (tmp_path / "kmeans.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield code
    sys.modules.pop("kmeans", None)


def test_the_worked_example_is_short_and_trains(kmeans):
    body = kmeans.partition("class ")[2]
    assert len([line for line in body.splitlines() if line.strip()]) <= 20
    request = dict(routing="kmeans:KMeansRouting", iters=[1, 2], sharpness=[0.5], epochs=6, seeds=0)
    outcome = capsbench.run(**request, measure="accuracy", baseline="none", out="results")
    assert len(outcome.finished) == 2, outcome.failed
    table = capsbench.load("results")
    accuracy = table[(table["metric"] == "accuracy") & (table["condition"] == "test")]
    assert (accuracy["value"] > 0.5).all()  # chance is 0.1
    assert (accuracy["routing.sharpness"] == 0.5).all()


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
        return run_cells(*arguments, **names)

    monkeypatch.setattr("capsbench.api.run_cells", edit)
    outcome = capsbench.run(
        routing="kmeans:KMeansRouting", train_size=40, epochs=1, seeds=0, baseline="none", out="results"
    )
    (failed,) = outcome.failed
    assert failed.training is None
    assert "routing kmeans:KMeansRouting" in failed.reason


def test_the_routing_of_the_kernels_document_is_short_and_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "kernels.md").read_text(), flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    names = {}
    exec(code, names)
    assert names["weights"].grad.isfinite().all()
    assert names["weights"].grad.any()


def find_anchors(document: Path) -> set[str]:
    """Returns the anchors that GitHub gives the headings of a document: lower case, spaces as hyphens, no punctuation."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "document",
    ["README.md", "CHANGELOG.md", "results/README.md", *(f"docs/{path.name}" for path in sorted(DOCS.glob("*.md")))],
)
def test_links_within_the_project_lead_somewhere(document):
    path = DOCS.parent / document
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", path.read_text())
    for file, anchor in links:
        if not file.startswith("http"):
            target = path.parent / file if file else path
            assert target.exists(), f"{document}: {file}"
            assert not anchor or anchor in find_anchors(target), f"{document}: {file}#{anchor}"
