"""The Ray that takes the tasks of a run: its start or the way to it, its nodes, and its end."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from capsbench.errors import Kind, UsageError, message_of
from capsbench.planning.defaults import usable_cores

SECONDS_TO_CONNECT = 10.0
SECONDS_TO_JOIN = 60.0
"""The time that the machine of an address has to answer, and the time that Ray has to join the cluster."""

SECONDS_BETWEEN_COUNTS = 5.0
"""The time after which the cores of a cluster are counted again: it may grow and shrink."""

QUIET = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}

REMEDY = "the address of the head node, HOST:PORT, or auto for the cluster that this machine is a node of"

_JOIN = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, configure_logging=False)"


class Cluster:
    """A Ray: the one at an address; else the one that this process is connected to, or one that starts on this machine.

    Args:
        address: HOST:PORT of the head node, or ``auto``.

    Raises:
        UsageError: there is no cluster at the address, or this machine cannot join it.
    """

    def __init__(self, address: str | None) -> None:
        self.address = address
        self.is_connected = ray.is_initialized()
        self.is_foreign = self.is_connected
        """True if someone else connected this process, and ends the connection."""
        self.is_own = not self.is_connected and address is None
        """True if this Ray is started here, for this run."""
        self.session: Path | None = None
        """The folder of a Ray that was started here."""
        self.cores, self.counted = 0, 0.0
        _silence_ray()
        if not self.is_connected and address is not None:
            check_address(address)

    def connect(self) -> None:
        """Starts the Ray, or joins it; no effect if this was done."""
        if self.is_connected:
            return
        self.is_connected = True
        options: dict[str, Any] = {**QUIET, "num_cpus": usable_cores()} if self.is_own else QUIET
        if not self.is_own:
            options = {name: value for name, value in options.items() if name != "include_dashboard"}
        try:
            with _keep_sigterm():
                ray.init(self.address or "local", **options)
        except (OSError, RuntimeError, ValueError) as error:
            problem = f"Ray cannot {'start here' if self.is_own else 'join the cluster'}: {message_of(error)}"
            raise UsageError(Kind.INACCESSIBLE, problem, flag="executor", value="ray") from error
        if self.is_own:
            self.session = Path(ray.nodes()[0]["RayletSocketName"]).parents[1]

    def close(self) -> None:
        """Ends the connection, and the Ray if it was started here; no effect on a connection of someone else."""
        if self.is_connected and not self.is_foreign:
            ray.shutdown()
            self.is_connected = False
            if self.session is not None:  # Ray leaves its logs and sockets there
                shutil.rmtree(self.session, ignore_errors=True)

    def list_nodes(self) -> list[dict[str, Any]]:
        """Returns the nodes that are alive: that of this process first, the others by address."""
        here = ray.get_runtime_context().get_node_id()
        alive = [node for node in ray.nodes() if node["Alive"]]
        return sorted(alive, key=lambda node: (node["NodeID"] != here, node["NodeManagerAddress"], node["NodeID"]))

    def count_cores(self) -> int:
        """Returns the number of cores of all nodes, at most some seconds old."""
        if not self.counted or time.monotonic() - self.counted > SECONDS_BETWEEN_COUNTS:
            self.cores, self.counted = int(ray.cluster_resources().get("CPU", 0)), time.monotonic()
        return self.cores


def check_address(address: str) -> None:
    """Raises UsageError unless this machine can join the cluster at an address; it takes a minute at most.

    Ray itself would try for minutes, and print its attempts.
    """
    if address != "auto":
        parts = re.fullmatch(r"\[?([\w.:-]+?)\]?:(\d{1,5})", address)
        if parts is None:
            raise UsageError(Kind.INVALID, flag="ray_address", expected=REMEDY, value=address)
        try:
            socket.create_connection((parts[1], int(parts[2])), SECONDS_TO_CONNECT).close()
        except (OSError, OverflowError) as error:
            problem = f"nothing answers there: {getattr(error, 'strerror', None) or error}"
            raise UsageError(
                Kind.MISSING, problem, flag="ray_address", value=address, expected=f"give {REMEDY}"
            ) from error
    command = [sys.executable, "-c", _JOIN, address]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_TO_JOIN, check=False)
    except subprocess.TimeoutExpired as error:
        problem = f"no Ray answers there within {SECONDS_TO_JOIN:.0f} s"
        raise UsageError(Kind.MISSING, problem, flag="ray_address", value=address, expected=f"give {REMEDY}") from error
    if answer.returncode and "AuthToken" in answer.stderr:
        problem = "the cluster asks for a token"
        remedy = "set RAY_AUTH_MODE=token, and copy ~/.ray/auth_token of the head node to this machine"
        raise UsageError(Kind.INACCESSIBLE, problem, flag="ray_address", value=address, expected=remedy)
    if answer.returncode:
        lines = [*answer.stderr.strip().splitlines(), f"exit code {answer.returncode}"]
        errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
        problem = f"this machine cannot join the cluster: {' '.join((errors or lines)[-1].split())}"
        raise UsageError(Kind.MISSING, problem, flag="ray_address", value=address, expected=f"give {REMEDY}")


def find_fitting(nodes: Sequence[dict[str, Any]], threads: int, gpus: float) -> list[dict[str, Any]]:
    """Returns the nodes that have enough cores, and GPUs if any are needed."""

    def count(node: dict[str, Any], name: str) -> float:
        return float(node["Resources"].get(name, 0))

    return [node for node in nodes if count(node, "CPU") >= threads and count(node, "GPU") >= gpus]


def _silence_ray() -> None:
    """Keeps Ray from writing into the display of the run, and from sending statistics of use."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What Ray will do by default one day; until then it warns.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray lets others go first, so that a cell would starve, and a measure of time be wrong, beside any other process.
    os.environ.setdefault("RAY_worker_niceness", "0")
    logging.getLogger("ray").setLevel(logging.CRITICAL)


@contextmanager
def _keep_sigterm() -> Iterator[None]:
    """Takes SIGTERM back from Ray, which answers it by SystemExit; one that came within the block is answered after it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, received = signal.getsignal(signal.SIGTERM), False
    try:
        yield
    except SystemExit:
        received = True
    finally:
        signal.signal(signal.SIGTERM, before)
    if received:
        os.kill(os.getpid(), signal.SIGTERM)
