import os
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from capsbench.records.software import provenance as module
from capsbench.records.software.provenance import installed_version, provenance

KEYS = [
    *("capsbench", "commit", "dirty", "python", "torch", "triton", "numba", "numpy", "torchvision"),
    *("cuda", "driver", "gpu", "cpu", "instructions", "cores", "gomp_spincount", "platform", "node"),
]


@pytest.fixture
def provenance_in(monkeypatch):
    """The provenance of a package that lies in a given folder."""

    def take(folder):
        monkeypatch.setattr(module, "__file__", str(folder / "provenance.py"))
        module.read_source_state.cache_clear()
        return provenance.__wrapped__()

    yield take
    module.read_source_state.cache_clear()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with one commit that holds provenance.py, and its git."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)

    def git(*arguments):
        settings = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
        command = ["git", *settings, "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "provenance.py").write_text("one\n")
    git("add", "provenance.py")
    git("commit", "--quiet", "-m", "one")
    return git


@pytest.mark.parametrize("name", ["CAPSBENCH_NODE", "SLURMD_NODENAME"])
def test_the_node_is_named_by_what_started_the_process(name, monkeypatch):
    monkeypatch.setenv(name, "node-7")
    assert provenance.__wrapped__()["node"] == "node-7"


def test_every_key_is_there_and_what_does_not_exist_is_none():
    found = provenance()
    assert list(found) == KEYS
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__
    assert found["cores"] == os.cpu_count()
    assert found["cpu"]
    assert found["node"] is None
    if not torch.cuda.is_available():
        assert (found["cuda"], found["driver"], found["gpu"]) == (None, None, None)


def test_outside_a_repository_there_is_no_commit(tmp_path, provenance_in):
    found = provenance_in(tmp_path)
    assert list(found) == KEYS
    assert (found["commit"], found["dirty"]) == (None, None)


def test_the_commit_and_whether_files_differ_from_it(tmp_path, repository, provenance_in):
    found = provenance_in(tmp_path)
    assert (found["commit"], found["dirty"]) == (repository("rev-parse", "HEAD"), False)
    (tmp_path / "provenance.py").write_text("two\n")
    assert provenance_in(tmp_path)["dirty"] is True


def test_an_environment_inside_somebody_elses_repository_has_no_commit(tmp_path, repository, provenance_in):
    package = tmp_path / "venv"
    package.mkdir()
    (package / "provenance.py").write_text("installed\n")
    assert repository("rev-parse", "HEAD")
    assert provenance_in(package)["commit"] is None


def test_without_git_there_is_no_commit(tmp_path, repository, provenance_in, monkeypatch):
    assert repository("rev-parse", "HEAD")
    monkeypatch.setenv("PATH", str(Path(tmp_path, "nowhere")))
    assert provenance_in(tmp_path)["commit"] is None


def test_the_version_of_what_is_not_installed_is_none():
    assert installed_version("no-such-distribution") is None


@pytest.mark.parametrize(
    ("system", "processor", "name"),
    [("linux", "other", "A CPU: 3 GHz"), ("darwin", "arm", "arm"), ("darwin", "", "arm64")],
)
def test_a_cpu_has_the_name_that_its_system_gives_it(monkeypatch, tmp_path, system, processor, name):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A CPU: 3 GHz\nmodel name\t: another\n")
    monkeypatch.setattr(module, "Path", lambda path: tmp_path / Path(path).name)
    monkeypatch.setattr(module.sys, "platform", system)
    monkeypatch.setattr(module.platform, "processor", lambda: processor)
    monkeypatch.setattr(module.platform, "machine", lambda: "arm64")
    assert module._cpu_name() == name


def test_a_cpu_without_a_model_name_has_that_of_its_machine(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n")
    monkeypatch.setattr(module, "Path", lambda path: tmp_path / Path(path).name)
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(module.platform, "processor", lambda: "risc")
    assert module._cpu_name() == "risc"
