"""Who may read what a run, a report and the gate write is for the umask to say, of every file alike."""

import os

import pytest
from matplotlib.figure import Figure

import capsbench
from capsbench.comparing.update import update
from capsbench.presenting.figures.figure import Picture
from capsbench.reporting.formats import FORMATS


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=lambda mask: f"umask {mask:03o}")
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def one_picture(monkeypatch):
    """Lets a report draw one picture, which is quick, in place of the many, which are all written alike."""
    monkeypatch.setattr(
        "capsbench.reporting.build.all_pictures",
        lambda: {"one": lambda material: Picture(Figure(), "One", "It is one.")},
    )


@pytest.mark.usefixtures("in_one_process", "one_picture")
def test_every_file_and_folder_has_the_mode_that_the_umask_gives(umask, tmp_path):
    results, reference = tmp_path / "results", tmp_path / "reference"
    asked = {"routing": "dynamic", "baseline": "none", "train_size": 20, "epochs": 1, "measure": "accuracy,transfer"}
    capsbench.run(seeds=[0, 1, 2], out=results, **asked)
    capsbench.report(results, formats=FORMATS)
    update(reference, results)
    paths = [*results.rglob("*"), *reference.rglob("*")]
    folders = {"kept", "weights", "records", "runs", "report", "between"}
    assert {*folders, "one.svg", "one.png"} <= {path.name for path in paths}
    wrong = {
        str(path.relative_to(tmp_path)): oct(path.stat().st_mode & 0o777)
        for path in paths
        if path.stat().st_mode & 0o777 != (0o777 if path.is_dir() else 0o666) & ~umask
    }
    assert wrong == {}
