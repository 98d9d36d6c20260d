"""The cache folder of the CPU kernels: Numba loads the files there as pickles."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from capsbench_kernels.passes.cpu import caching

IMPORT = """
import capsbench_kernels.passes.cpu.passes
from numba.core import config
print(repr(config.CACHE_DIR))
"""


@pytest.mark.parametrize(("chosen", "folder"), [({}, ""), ({"NUMBA_CACHE_DIR": "mine"}, "mine")])
def test_the_folder_is_the_user_s_choice_and_never_the_working_directory_s(tmp_path, chosen, folder):
    (tmp_path / ".numba_config.yaml").write_text("cache_dir: foreign\n")
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"} | chosen
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == repr(folder)


def test_kernels_are_compiled_anew_when_what_they_inline_has_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(caching.tiles, "__file__", str(tmp_path / "tiles.py"))
    (tmp_path / "tiles.py").write_text("before")
    kept, other = tmp_path / "cpu_passes.forward_item-1.nbi", tmp_path / "cpu_passes.backward_item-1.nbi"
    for change in (lambda: None, lambda: (tmp_path / "tiles.py").write_text("after!")):
        change()
        kept.touch()
        other.touch()
        caching._forget_if_changed("forward_item", tmp_path)
        assert not kept.exists()
        kept.touch()
        caching._forget_if_changed("forward_item", tmp_path)
        assert kept.exists()
        assert other.exists()


def add_one(number):
    return number + 1


@pytest.fixture
def forgotten(monkeypatch):
    """Notes the kernels whose outdated files are looked for."""
    calls = []
    monkeypatch.setattr(caching, "_forget_if_changed", lambda name, folder: calls.append((name, folder)))
    return calls


def test_a_kernel_is_kept_on_disk_after_its_outdated_files_are_forgotten(forgotten):
    kernel = caching.compile_kernel(add_one)
    assert kernel is not add_one
    assert forgotten == [("add_one", Path(kernel.stats.cache_path))]


def test_without_a_compiler_the_function_itself_runs(forgotten, monkeypatch):
    monkeypatch.setattr(caching, "njit", lambda **options: lambda function: function)
    assert caching.compile_kernel(add_one) is add_one
    assert forgotten == []


def test_without_a_place_for_files_a_kernel_is_compiled_in_each_process(forgotten, monkeypatch):
    def compile_or_refuse(**options):
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: (function, options)

    monkeypatch.setattr(caching, "njit", compile_or_refuse)
    assert caching.compile_kernel(add_one) == (add_one, {"nogil": True, "error_model": "numpy"})
    assert forgotten == []
