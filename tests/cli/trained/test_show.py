"""`capsbench show` as a person types it."""

import json
import re

import pytest


@pytest.fixture(autouse=True)
def _no_pixels(monkeypatch):
    """They take half of the time of a picture, and tests of `capsbench.showing` look at them."""
    monkeypatch.setattr("capsbench.presenting.figures.files.render_png", lambda figure: b"")


def test_it_says_what_it_drew_and_where(capsbench, trained):
    done = capsbench("show", "dynamic", "--images", "2", cwd=trained)
    assert done.returncode == 0, done.stderr
    first, *names, last = done.stdout.splitlines()
    assert first.endswith(", capsnet dynamic x3 tiny, digits, seed 0")
    assert [name.split()[0] for name in names] == [
        "reconstructions", "dimensions", "coupling", "coupling-means", "agreement", "rotation",
    ]  # fmt: skip
    assert last == f"in results/shown/{first.partition(',')[0]}, as svg and png"


def test_it_says_what_does_not_apply_to_a_cnn_and_why(capsbench, trained):
    done = capsbench("show", "matched", "--to", "elsewhere", cwd=trained)
    assert done.returncode == 0, done.stderr
    assert "left out: reconstructions, dimensions: a CNN has no capsules and no decoder" in done.stdout
    assert "left out: coupling, coupling-means, agreement: the network routes nothing" in done.stdout
    assert {path.name for path in (trained / "elsewhere").iterdir()} == {"shown.json", "rotation.svg", "rotation.png"}


def test_json_is_for_programs(capsbench, trained):
    done = capsbench("show", "dynamic", "--index", "3,8", "--to", "there", "--json", cwd=trained)
    said = json.loads(done.stdout)
    assert said["left_out"] == {}
    assert len(said["files"]) == 2 * len(said["pictures"]) + 1


@pytest.mark.usefixtures("without_pictures")
def test_the_report_has_the_pictures_on_its_page(capsbench, trained):
    capsbench("show", "dynamic", "--images", "1", cwd=trained)
    done = capsbench("report", "--format", "html", cwd=trained)
    assert done.returncode == 0, done.stderr
    page = (trained / "results" / "report" / "index.html").read_text()
    assert "Dimensions of a class capsule, changed one by one" in page
    assert "Predictions under rotation" in page


def test_missing_weights_are_one_line_that_says_how_to_get_them(capsbench, trained, tmp_path):
    from capsbench.records.store import Store

    (tmp_path / "kept" / "records").mkdir(parents=True)
    for path in (trained / "results" / "records").iterdir():
        (tmp_path / "kept" / "records" / path.name).write_bytes(path.read_bytes())
    done = capsbench("show", "dynamic", "--out", "kept", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (cell,) = (record.cell for record in Store(tmp_path / "kept").records()[0] if record.cell.routing)
    assert len(done.stderr.splitlines()) == 1
    assert f"{cell.id}, {cell.title}" in done.stderr
    train, show = re.findall("`([^`]*)`", done.stderr)
    assert train.startswith("capsbench run ")
    assert train.endswith(" --out retrained")
    assert show == f"capsbench show {cell.id} --out retrained"


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["dinamic"], ["CELL", "'dinamic'", "'dynamic'"]),
        (["digits"], ["CELL digits", "2 cells"]),
        (["dynamic", "--index", "1,x"], ["--index", "'1,x'", "I,J,..."]),
        (["dynamic", "--index", "9999"], ["--index", "9999", "0 to 499"]),
        (["dynamic", "--images", "0"], ["--images"]),
        (["--out", "nowhere"], ["--out nowhere"]),
    ],
)
def test_what_a_person_got_wrong_is_one_line_and_exit_code_2(capsbench, trained, arguments, facts):
    done = capsbench("show", *arguments, cwd=trained)
    assert (done.returncode, done.stdout) == (2, "")
    assert [fact for fact in facts if fact not in done.stderr] == []
    assert len(done.stderr.splitlines()) == 1
