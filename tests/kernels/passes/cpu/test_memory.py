"""The memory of the CPU kernels."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from capsbench_kernels.passes.cpu.memory import Memory

BLOCKS, BLOCK = 50, 1 << 20

COUNT = """
import resource
import torch
from capsbench_kernels import dynamic_routing
from capsbench_kernels.passes.cpu.memory import keep_freed_memory

def take_step():
    tensors = [torch.empty({block}, dtype=torch.uint8) for _ in range({blocks})]
    for tensor in tensors:
        tensor.numpy().fill(1)

{first}
for _ in range(10):
    take_step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    take_step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
"""Counts page faults of ten steps, after ten others, of which each fills new tensors, and frees them."""

ROUTING = "dynamic_routing(torch.rand(2, 9, 1, 8), torch.rand(9, 3, 8, 16))"

PAGES = 10 * BLOCKS * BLOCK // os.sysconf("SC_PAGE_SIZE")
"""The pages that the ten steps fill."""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def count_page_faults(first: str, **setting: str) -> int:
    """Returns the page faults of the steps in a new process, which runs the line ``first`` before them."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | setting
    program = COUNT.format(first=first, block=BLOCK, blocks=BLOCKS)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
@glibc
def test_freed_memory_serves_the_next_step():
    assert count_page_faults("keep_freed_memory()") < PAGES / 100


@pytest.mark.slow
@glibc
def test_a_routing_keeps_freed_memory():
    assert count_page_faults(ROUTING) < PAGES / 100


@pytest.mark.slow
@glibc
def test_a_setting_of_the_user_stays_in_force():
    assert count_page_faults("keep_freed_memory()", MALLOC_MMAP_THRESHOLD_="65536") > PAGES / 2


def test_memory_holds_its_tensors():
    memory = Memory(torch.float64)
    address = memory.address(torch.arange(3, dtype=torch.float32))
    (tensor,) = memory._held
    assert tensor.dtype == torch.float64
    assert tensor.data_ptr() == address
    assert tensor.tolist() == [0, 1, 2]
    assert memory.address(None) == 0
