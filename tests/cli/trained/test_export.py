"""`capsbench export` as a person types it."""

import json

import pytest


def test_it_says_what_it_wrote_and_how_it_was_checked(capsbench, trained, tmp_path):
    done = capsbench("export", "dynamic", "--to", "safetensors", "--out", str(tmp_path / "a.safetensors"), cwd=trained)
    assert done.returncode == 0, done.stderr
    first, checked, *files = done.stdout.splitlines()
    assert first.endswith(", capsnet dynamic x3 tiny, digits, seed 0")
    assert "1 and 5 random images" in checked
    assert files == [str(tmp_path / "a.safetensors"), str(tmp_path / "a.json")]


def test_json_is_for_programs(capsbench, trained, tmp_path):
    done = capsbench("export", "results/matched", "--to", "hub", "--out", str(tmp_path / "hub"), "--json", cwd=trained)
    said = json.loads(done.stdout)
    assert said["difference"] == 0
    assert said["batches"] == [1, 5]
    assert said["files"][0] == str(tmp_path / "hub" / "README.md")


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["dynamic", "--to", "onyx"], ["--to", "'onyx'", "'onnx'"]),
        (["dynamic", "--to", "onnx", "--out", "a.pt2"], ["--out", "'a.pt2'", ".onnx"]),
        (["dinamic"], ["CELL", "'dinamic'"]),
        (["nowhere/dynamic"], ["CELL", "nowhere/dynamic"]),
        ([], ["CELL", "2 cells"]),
        (["dynamic", "--to", "safetensors", "--out", "file/a.safetensors"], ["--out", "cannot be written"]),
        (["dynamic", "--to", "hub", "--out", "results"], ["--out", "'results'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_one_line(capsbench, trained, arguments, facts):
    (trained / "file").write_text("no folder")
    done = capsbench("export", *arguments, cwd=trained)
    assert (done.returncode, done.stdout) == (2, "")
    assert [fact for fact in facts if fact not in done.stderr] == []
    assert len(done.stderr.splitlines()) == 1
