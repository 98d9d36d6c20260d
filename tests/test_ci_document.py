"""What docs/ci.md shows to be copied is copied here, and run with a smaller suite."""

import re
import shlex
import sys
from pathlib import Path

import pytest

import capsbench as package
from capsbench.cli.check import check as check_command
from capsbench.comparing.checked import NOT_PASSED
from capsbench.planning.suites import read_suite

DOCS = Path(__file__).parent.parent / "docs"
FILES = dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", (DOCS / "ci.md").read_text(), flags=re.DOTALL))
SUITE = """
routing = "kmeans:KMeansRouting"
iters = 1
size = "tiny"
dataset = "digits"
train-size = 60
epochs = 1
seeds = 0
baseline = "none"
measure = "accuracy"
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the files of the document, whose suite is smaller."""
    (kmeans,) = re.findall(r"```python\n(.*?)```", (DOCS / "own-routing.md").read_text(), flags=re.DOTALL)
    for name, content in {**FILES, "bench/ci.toml": SUITE, "kmeans.py": kmeans}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("kmeans", None)


@pytest.fixture
def shell(project, capsbench, monkeypatch):
    """Runs the lines of a script that are commands of capsbench, and gives their exit codes."""
    environment = {"GITHUB_STEP_SUMMARY": str(project / "step-summary.md")}

    def run(script):
        commands = re.split(r"[;\n]", script.replace("\\\n", " "))
        expanded = [re.sub(r"\$(\w+)", lambda name: environment[name[1]], command) for command in commands]
        calls = [shlex.split(command) for command in expanded if command.split()[:1] == ["capsbench"]]
        return [capsbench(*call[1:], cwd=project).returncode for call in calls]

    return run


def yaml(name):
    return pytest.importorskip("yaml", reason="needs PyYAML").safe_load(FILES[name])


def make_worse(project):
    """One parameter too many, which is a regression whatever a network of one epoch happens to know."""
    path = project / "kmeans.py"
    before = path.read_text()
    kept = "self.sharpness = sharpness"
    after = before.replace(kept, f"{kept}\n        self.unused = torch.nn.Parameter(torch.zeros(1))")
    assert after != before
    path.write_text(after)
    sys.modules.pop("kmeans", None)


def test_all_that_is_shown_is_run_here():
    assert set(FILES) == {
        "bench/ci.toml", "bench/update.sh", ".github/workflows/capsbench.yml", ".pre-commit-config.yaml", "test_gate.py",
    }  # fmt: skip


def test_the_suite_is_one(project):
    (project / "bench/ci.toml").write_text(FILES["bench/ci.toml"])
    cells = package.cells("bench/ci.toml")
    assert {cell.routing for cell in cells} == {"kmeans:KMeansRouting", "dynamic", None}
    assert {cell.iterations for cell in cells} == {1, 3, None}
    assert read_suite("bench/ci.toml").matrices


@pytest.mark.usefixtures("in_one_process")
def test_the_workflow_the_hook_and_the_test_stop_a_run_that_is_worse(project, shell):
    assert shell(FILES["bench/update.sh"].replace("--seeds 0,1,2,3,4", "--seeds 0,1,2")) == [0, 0]
    assert list((project / "bench" / "reference" / "records").iterdir())

    (job,) = yaml(".github/workflows/capsbench.yml")["jobs"].values()
    steps = [step for step in job["steps"] if "capsbench " in step.get("run", "").replace("pip install", "")]
    assert [step.get("continue-on-error", False) for step in steps] == [True, False]
    (hook,) = yaml(".pre-commit-config.yaml")["repos"][0]["hooks"]
    sh, flag, script = shlex.split(hook["entry"])
    assert (sh, flag, hook["language"], hook["pass_filenames"]) == ("sh", "-c", "system", False)
    assert [bool(re.search(hook["files"], name)) for name in ("kmeans.py", "bench/ci.toml", "README.md")] == [
        True,
        True,
        False,
    ]
    names = {}
    exec(FILES["test_gate.py"], names)

    out = project / "results" / "gate"  # of all of them: what is on record is not trained again

    assert [shell(step["run"]) for step in steps] == [[0], [0]]
    assert (project / "step-summary.md").read_text().startswith("# capsbench check\n\n**passed: ")
    names["test_no_network_is_worse_than_the_reference"](out)

    make_worse(project)
    assert shell(script) == [0, 1]
    assert [shell(step["run"]) for step in steps] == [[0], [1]]
    assert "parameters: " in (project / "step-summary.md").read_text()
    assert "failure" in (out / "check.xml").read_text()
    with pytest.raises(AssertionError):
        names["test_no_network_is_worse_than_the_reference"](out)


def test_the_flags_of_the_document_are_those_of_the_command():
    import inspect

    text = (DOCS / "ci.md").read_text()
    told = set(re.findall(r"^\| `(--[\w-]+)", text, flags=re.MULTILINE))
    names = {"as_json": "json", "allow_code": "allow-code"}
    assert told == {f"--{names.get(name, name)}" for name in inspect.signature(check_command).parameters}
    assert all(kind in text for kind in NOT_PASSED)
