"""The notebooks of the documentation are executed, and what they leave behind is what they say."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import capsbench
from capsbench.measures.accuracy.spec import TEST_ACCURACY
from capsbench.records.store import Store

CHECKOUT = Path(__file__).parent.parent
NOTEBOOKS = sorted((CHECKOUT / "docs" / "notebooks").glob("*.ipynb"))

MOST_BYTES = 100_000

ADDRESS = re.compile(r"base64,[^\"']*")

ABSOLUTE = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|usr|Users|private|var)/")


def read_notebook(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def list_outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_as_it_was_executed(path: Path) -> None:
    notebook = read_notebook(path)
    nbformat.validate(notebook)
    assert path.stat().st_size < MOST_BYTES
    assert not ABSOLUTE.search(ADDRESS.sub("", path.read_text()))
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in codes] == list(range(1, len(codes) + 1))
    assert {output.output_type for output in list_outputs(notebook)}.isdisjoint({"error"})


def execute(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    """Executes a notebook in an empty folder, with the code of this checkout."""
    paths = [CHECKOUT, CHECKOUT / "kernels", CHECKOUT / "baselines"]
    monkeypatch.setenv("PYTHONPATH", ":".join(map(str, paths)))
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(folder / ".jupyter"))
    notebook = read_notebook(path)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, kernel_name="python3", timeout=300, resources=resources).execute()
    return notebook


def read_accuracies(folder: Path) -> dict[tuple[str | None, int | None], list[float]]:
    """Returns routing and iterations -> the test accuracies of the seeds."""
    accuracies: dict[tuple[str | None, int | None], list[float]] = {}
    for record in Store(folder / "results").records()[0]:
        values = [row.value for row in record.rows if row[:3] == TEST_ACCURACY]
        accuracies.setdefault((record.cell.routing, record.cell.iterations), []).extend(values)
    return accuracies


@pytest.mark.slow
def test_the_first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = execute(CHECKOUT / "docs" / "notebooks" / "first-run.ipynb", tmp_path, monkeypatch)
    accuracies = read_accuracies(tmp_path)
    assert accuracies.keys() == {("dynamic", 1), ("dynamic", 3), (None, None)}
    assert all(len(values) == 3 and min(values) > 0.5 for values in accuracies.values())
    run, outcome, report, table, prediction = list_outputs(notebook)
    assert run.output_type == "display_data"  # one for all that the run prints
    assert all("text/html" in output.data for output in (outcome, report, table, prediction))
    assert report.data["text/html"].count("<img") == 2
    assert (tmp_path / "results" / "report" / "index.html").is_file()


@pytest.mark.slow
def test_a_routing_of_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = execute(CHECKOUT / "docs" / "notebooks" / "own-routing.ipynb", tmp_path, monkeypatch)
    accuracies = read_accuracies(tmp_path)
    assert accuracies.keys() == {("kmeans:KMeansRouting", 2), ("dynamic", 2), (None, None)}
    assert all(len(values) == 3 and min(values) > 0.5 for values in accuracies.values())
    refused = list_outputs(notebook)[-1]
    assert "__main__:MyRouting" in refused.text
    monkeypatch.chdir(tmp_path)
    cells = capsbench.cells(
        routing="kmeans:KMeansRouting",
        iters=2,
        dataset="digits",
        train_size=600,
        epochs=10,
        seeds=[0, 1, 2],
        baseline="none",
    )
    digests = {cell.code["routing"] for cell in cells}
    records = Store(tmp_path / "results").records()[0]
    assert {record.cell.code["routing"] for record in records if "routing" in record.cell.code} == digests
    assert {cell.id for cell in cells} <= {record.cell.id for record in records}


def test_the_routing_is_the_one_of_the_document() -> None:
    (code,) = [
        cell.source
        for cell in read_notebook(CHECKOUT / "docs" / "notebooks" / "own-routing.ipynb").cells
        if cell.source.startswith("%%writefile")
    ]
    assert code.partition("\n")[2] in (CHECKOUT / "docs" / "own-routing.md").read_text()
