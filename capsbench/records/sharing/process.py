"""Identifies processes across machines, for what several machines write into one folder."""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

NODE = "CAPSBENCH_NODE"
"""The environment variable with the name of the cluster's node that a process runs on; Slurm has its own."""


class Process(NamedTuple):
    """A process of some machine: its host's name, its number, and what tells it from a later process of that number.

    - ``boot``: identity of the running kernel and its space of process numbers; empty where the system tells none
    - ``born``: time at which the process was started, in ticks of the kernel; ``alive`` where the system tells none
    """

    host: str
    number: int
    boot: str
    born: str

    @property
    def is_dead(self) -> bool:
        """True if the process is known to have ended; False also for a process of another machine."""
        here = identify_process(os.getpid())
        if (self.host, self.boot) != (here.host, here.boot):
            return False
        return identify_process(self.number).born != self.born


def identify_process(number: int) -> Process:
    """Returns the identity of a process of this machine; ``born`` is empty if it does not exist."""
    boot = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        boot += f" {Path('/proc/self/ns/pid').readlink()}"
    return Process(socket.gethostname(), number, boot, _find_birth(number))


def _find_birth(number: int) -> str:
    if Path("/proc/self/stat").exists():
        with suppress(OSError, IndexError):
            # The name in parentheses may hold blanks. The start time is the 22nd field.
            return Path(f"/proc/{number}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
        return ""
    try:
        os.kill(number, 0)  # sends nothing, and raises if there is no such process
    except PermissionError:  # it exists, but belongs to another user
        pass
    except (OSError, OverflowError):
        return ""
    return "alive"


@cache
def machine_token() -> str:
    """Returns eight letters that tell this machine, or this container, from others that write into the same folder."""
    here = identify_process(os.getpid())
    return hashlib.sha256(f"{here.host} {here.boot}".encode()).hexdigest()[:8]
