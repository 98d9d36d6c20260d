"""The files of compiled kernels: which folder, when they are used, and what a damaged one costs."""

import errno
import hashlib
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numba.core import config

from capsbench_kernels.passes.cpu import caching

IMPORT = """
import capsbench_kernels.passes.cpu.passes
from numba.core import config
print(repr(config.CACHE_DIR))
"""

ROUTE = """
import torch
from capsbench_kernels import dynamic_routing
poses, weights = torch.ones(2, 3, 1, 2), torch.ones(3, 2, 2, 4, requires_grad=True)
dynamic_routing(poses, weights, backend="cpu").sum().backward()
print(weights.grad.sum().item())
"""


def run_script(script, **environment):
    path = os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("before", "chosen", "folder"),
    [
        ("", {}, ""),
        pytest.param("import numba\n", {}, "", marks=pytest.mark.slow),
        pytest.param("", {"NUMBA_CACHE_DIR": "mine"}, "mine", marks=pytest.mark.slow),
    ],
)
def test_the_folder_is_the_user_s_choice_and_never_the_working_directory_s(tmp_path, before, chosen, folder):
    (tmp_path / ".numba_config.yaml").write_text("cache_dir: foreign\n")
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"} | chosen
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))
    done = subprocess.run(
        [sys.executable, "-c", before + IMPORT],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == repr(folder)


def add_one(numbers):
    numbers[0] += 1


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def run_kernel():
    """Compiles or loads the kernel as a new process does, and returns the number of kernels that were loaded."""
    kernel = caching.compile_kernel(add_one)
    numbers = np.array([41.0])
    kernel(numbers)
    assert numbers[0] == 42
    return sum(kernel.stats.cache_hits.values())


def list_files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_kernel_is_compiled_once(folder):
    assert [run_kernel(), run_kernel()] == [0, 1]
    (path,) = list_files(folder)
    assert (path.name.partition(".")[0], path.suffix) == ("add_one", ".kernel")


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def write_with_checksum(path, data):
    path.write_bytes(hashlib.sha256(data).digest() + data)


DAMAGE = {
    "removed": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one byte": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"),
    "garbage": lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
    "no pickle": lambda path: write_with_checksum(path, b"no pickle"),
    "another pickle": lambda path: write_with_checksum(path, pickle.dumps({"a": 1})),
    "a pickle of an unknown class": lambda path: write_with_checksum(path, b"cnot_a_module\nNotAClass\n."),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_replaced_by_a_new_compilation(folder, damage):
    run_kernel()
    damage(*list_files(folder))
    assert [run_kernel(), run_kernel()] == [0, 1]


def test_a_file_that_cannot_be_replaced_costs_a_compilation_each_time(folder):
    run_kernel()
    replace_by_folder(*list_files(folder))
    assert [run_kernel(), run_kernel()] == [0, 0]
    assert list_files(folder) == []


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "denied"), OSError(errno.EIO, "broken disk")])
def test_a_file_that_cannot_be_read_costs_a_compilation(folder, monkeypatch, error):
    run_kernel()

    def refuse(path):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(caching.Path, "read_bytes", refuse)
        patch.setattr(caching, "SOURCES", folder / "none")
        assert run_kernel() == 0


def test_on_a_full_disk_each_process_compiles_and_leaves_nothing(folder, monkeypatch):
    def write_half(path, data):
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching.Path, "write_bytes", write_half)
    assert [run_kernel(), run_kernel()] == [0, 0]
    assert list_files(folder) == []


def test_other_source_code_has_files_of_its_own_and_removes_the_old_ones(folder, monkeypatch):
    monkeypatch.setattr(caching, "SOURCES", folder)
    (folder / "steps.py").write_text("before")
    assert [run_kernel(), run_kernel()] == [0, 1]
    (old,) = (path for path in list_files(folder) if path.suffix == ".kernel")
    other = old.with_name("another_kernel.0.0.kernel")
    other.touch()
    (folder / "steps.py").write_text("after!")
    assert [run_kernel(), run_kernel()] == [0, 1]
    assert not old.exists()
    assert other.exists()


@pytest.mark.parametrize("package", [caching.numba, caching.llvmlite])
def test_another_version_has_files_of_its_own(folder, monkeypatch, package):
    run_kernel()
    monkeypatch.setattr(package, "__version__", "0.0")
    assert [run_kernel(), run_kernel()] == [0, 1]
    assert len(list_files(folder)) == 2


def test_another_processor_has_files_of_its_own(folder, monkeypatch):
    run_kernel()
    monkeypatch.setattr(config, "CPU_NAME", "generic")
    run_kernel()
    assert len(list_files(folder)) == 2


def test_a_file_is_whole_at_every_moment(tmp_path):
    files = caching.KernelFiles(tmp_path, "kernel", "stamp")
    results = [number.to_bytes(1, "big") * 100_000 for number in range(50)]
    files.save("key", results[0])
    writer = threading.Thread(target=lambda: [files.save("key", result) for result in results])
    writer.start()
    read = [files.load("key")]
    while writer.is_alive():
        read.append(files.load("key"))
    writer.join()
    assert {*read} <= {*results}
    assert files.load("key") == results[-1]


def test_files_are_removed_on_request(tmp_path):
    files = caching.KernelFiles(tmp_path, "kernel", "stamp")
    files.save("key", 1)
    assert (files.load("key"), files.load("another")) == (1, None)
    files.flush()
    assert files.load("key") is None


def test_without_a_compiler_the_function_itself_runs(monkeypatch):
    monkeypatch.setattr(caching, "njit", lambda **options: lambda function: function)
    assert caching.compile_kernel(add_one) is add_one


def test_without_a_place_for_files_a_kernel_is_compiled_in_each_process(folder, monkeypatch):
    def refuse(function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(caching, "KernelCache", refuse)
    assert [run_kernel(), run_kernel()] == [0, 0]
    assert list_files(folder) == []


@pytest.mark.slow
def test_processes_compile_at_once(tmp_path):
    processes = [run_script(ROUTE, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(3)]
    outputs = [process.communicate(timeout=600) for process in processes]
    assert [error for _, error in outputs] == [""] * 3
    assert len({output for output, _ in outputs}) == 1
    kernels = [path.name.partition(".")[0] for path in list_files(tmp_path)]
    of_passes = ["copy_children", "copy_weights", "sweep_item", "spread_item"]
    assert sorted(kernels) == sorted([*of_passes, "update_squashed", "differentiate_squashed"])
