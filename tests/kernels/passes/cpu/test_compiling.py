"""What surrounds a compilation: the line on a terminal, and the pause of the garbage collection."""

import gc
import io
import multiprocessing
import os
from types import SimpleNamespace

import numpy as np
import pytest
from numba import njit, types
from numba.core import event

from capsbench_kernels.passes.cpu import compiling


class Terminal(io.StringIO):
    def isatty(self):
        return True


def replace_streams(monkeypatch, stderr, original):
    monkeypatch.setattr(compiling, "sys", SimpleNamespace(stderr=stderr, __stderr__=original))


@pytest.fixture
def terminal(monkeypatch):
    stream = Terminal()
    replace_streams(monkeypatch, stream, stream)
    monkeypatch.setattr(compiling.shutil, "get_terminal_size", lambda *size, **fallback: os.terminal_size((60, 24)))
    return stream


def test_a_line_is_shown_on_a_terminal_and_overwritten(terminal):
    compiling.clear_line(compiling.show_line("compiling ..."))
    assert terminal.getvalue() == "compiling ...\r             \r"


def test_a_line_is_no_wider_than_the_terminal(terminal):
    assert compiling.show_line("x" * 100) == "x" * 59
    assert terminal.getvalue() == "x" * 59


def test_a_line_stays_in_the_stream_of_a_program(terminal, monkeypatch):
    bars = Terminal()
    replace_streams(monkeypatch, bars, terminal)
    compiling.clear_line(compiling.show_line("compiling ..."))
    assert (bars.getvalue(), terminal.getvalue()) == ("compiling ...\n", "")


def make_closed():
    stream = Terminal()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [io.StringIO(), None, make_closed()], ids=["a file", "none", "closed"])
def test_nothing_is_shown_elsewhere(terminal, monkeypatch, stream):
    replace_streams(monkeypatch, stream, stream)
    assert compiling.show_line("compiling ...") == ""
    assert terminal.getvalue() == ""
    assert not isinstance(stream, io.StringIO) or stream.closed or stream.getvalue() == ""


def test_a_process_of_a_pool_shows_nothing(terminal, monkeypatch):
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace(pid=1))
    assert compiling.show_line("compiling ...") == ""
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(("folder", "often"), [("/cache", "once on this machine"), (None, "NUMBA_CACHE_DIR")])
def test_the_line_names_the_dtype_and_whether_the_result_is_kept(folder, often):
    kernel = SimpleNamespace(stats=SimpleNamespace(cache_path=folder))
    arguments = types.int64[::1], types.float32[::1]
    line = compiling.describe_compilation(kernel, arguments)
    assert "for float32, " in line
    assert often in line


@pytest.fixture
def compilations():
    listener = compiling.Compilations()
    event.register("numba:compile", listener)
    yield listener
    event.unregister("numba:compile", listener)


def watch_collection(numbers):
    numbers[0] += 1


def compile_while_watched(listener, is_ours):
    """Compiles a kernel, and returns whether garbage was collected meanwhile."""
    kernel = njit(watch_collection)
    if is_ours:
        listener.kernels.append(kernel)
    seen = []

    class Watch(event.Listener):
        def on_start(self, event):
            seen.append(gc.isenabled())

        def on_end(self, event):
            seen.append(gc.isenabled())

    with event.install_listener("numba:run_pass", Watch()):
        kernel(np.ones(1))
    return {*seen}


@pytest.mark.parametrize("enabled", [True, False])
def test_collection_pauses_while_a_kernel_of_ours_is_compiled(compilations, terminal, enabled):
    try:
        (gc.enable if enabled else gc.disable)()
        assert compile_while_watched(compilations, is_ours=True) == {False}
        assert gc.isenabled() == enabled
        assert compile_while_watched(compilations, is_ours=False) == {enabled}
    finally:
        gc.enable()
    assert terminal.getvalue().count("compiling a CPU kernel for float64") == 1
    assert terminal.getvalue().endswith(" \r")


def test_silence_is_silent(compilations, terminal):
    with compilations.silence():
        compile_while_watched(compilations, is_ours=True)
    assert terminal.getvalue() == ""
    assert not compilations.silent


def test_a_failed_compilation_ends_the_pause_and_the_line(compilations, terminal):
    kernel = njit(lambda numbers: numbers.no_such_name)
    compilations.kernels.append(kernel)
    with pytest.raises(Exception, match="no_such_name"):
        kernel(np.ones(1))
    assert gc.isenabled()
    assert terminal.getvalue().endswith(" \r")
