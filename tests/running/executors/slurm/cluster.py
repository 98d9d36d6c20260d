"""A Slurm of two nodes on this machine, in a folder of its own: controller, nodes, and munge, which authenticates them."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

PROGRAMS = ("setpriv", "munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
"""Where daemons lie, which is not on the path of every user."""

END_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM")
"""The command that ends a daemon with the process of the tests, also if that one is killed."""

NODES = ("n1", "n2")

CONFIGURATION = """
ClusterName=capsbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
JobRequeue=0
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=main Nodes=n1,n2 Default=YES State=UP
PartitionName=short Nodes=n1,n2 MaxTime=5 State=UP
"""
"""One core a node, whatever the machine has. A requeued task waits until the credential of its first run has expired."""

SECONDS_TO_START = 60.0
SECONDS_TO_STOP = 20.0


def find_missing_program() -> str | None:
    """Returns the name of a program of Slurm that is not installed."""
    return next((name for name in PROGRAMS if shutil.which(name, path=PATH) is None), None)


class Cluster:
    """A Slurm that runs within a ``with`` block.

    Args:
        folder: an empty folder with a short path, since sockets lie in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "TMPDIR": str(folder / "tmp"), "PATH": PATH}
        """What a command needs that submits to this cluster."""
        self._daemons = ExitStack()

    def __enter__(self) -> Cluster:
        with ExitStack() as stack:  # a start that fails stops what has started
            stack.callback(self._stop)
            self._start()
            stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def call(self, *command: str) -> str:
        """Calls a program of Slurm, and returns what it prints."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout

    def list_queued(self) -> Mapping[str, str]:
        """Returns the tasks that wait or run, with their states such as ``R`` or ``PD``."""
        return dict(line.split() for line in self.call("squeue", "-h", "-r", "-o", "%i %t").splitlines())

    def cancel_all(self) -> None:
        """Cancels all tasks, and waits until they are gone."""
        self.call("scancel", "--user", getpass.getuser())
        wait_until(lambda: not self.list_queued(), "tasks do not end", seconds=SECONDS_TO_STOP)

    def _start(self) -> None:
        self.folder.chmod(0o755)  # munged asks for it
        for name in ("state", "tmp", *NODES):
            (self.folder / name).mkdir()
        with ExitStack() as stack:
            listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
            ports = [listener.getsockname()[1] for listener in listeners]
        facts = {"host": socket.gethostname().partition(".")[0], "user": getpass.getuser(), "folder": self.folder}
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(ports=ports, **facts))
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(64))
        key.chmod(0o400)
        places = {"socket": "socket", "key-file": "key", "log-file": "log", "pid-file": "pid", "seed-file": "seed"}
        self._start_daemon("munged", "-F", *(f"--{name}={self.folder}/munge.{end}" for name, end in places.items()))
        wait_until((self.folder / "munge.socket").exists, "munged does not start", self._read_logs)
        self._start_daemon("slurmctld", "-D")
        for node in NODES:
            self._start_daemon("slurmd", "-D", "-N", node)
        wait_until(self._is_idle, "the nodes of Slurm do not start", self._read_logs)

    def _is_idle(self) -> bool:
        with suppress(subprocess.SubprocessError):
            return self.call("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split() == ["idle"] * len(NODES)
        return False

    def _start_daemon(self, *command: str) -> None:
        environment = {**os.environ, **self.environment, "CAPSBENCH_CLUSTER": str(self.folder)}
        with (self.folder / f"{command[0]}{command[-1] if command[-1] in NODES else ''}.log").open("wb") as log:
            daemon = subprocess.Popen(
                [*END_WITH_PARENT, *command], env=environment, stdout=log, stderr=log, start_new_session=True
            )

        def stop() -> None:
            daemon.terminate()
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(SECONDS_TO_STOP)
            daemon.kill()
            daemon.wait()

        self._daemons.callback(stop)

    def _stop(self) -> None:
        """Cancels what runs, stops the daemons, and kills what is left of tasks."""
        with suppress(subprocess.SubprocessError, AssertionError):
            self.cancel_all()
        self._daemons.close()
        for process in self._list_left():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _list_left(self) -> Sequence[int]:
        """Returns the processes that the daemons of this cluster started: those of tasks know their job."""
        mine = f"CAPSBENCH_CLUSTER={self.folder}".encode()
        tasks = f"SLURM_CONF={self.folder / 'slurm.conf'}".encode()
        left = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                variables = path.read_bytes().split(b"\0")
                is_task = tasks in variables and any(name.startswith(b"SLURM_JOB_ID=") for name in variables)
                if mine in variables or is_task:
                    left.append(int(path.parent.name))
        return left

    def _read_logs(self) -> str:
        return "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in sorted(self.folder.glob("*.log")))


def wait_until(
    is_true: Callable[[], object],
    problem: str,
    explain: Callable[[], str] = lambda: "",
    *,
    seconds: float = SECONDS_TO_START,
) -> None:
    """Waits until something is true; raises AssertionError if that takes too long."""
    ends = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > ends:
            raise AssertionError(f"{problem}\n{explain()}")
        time.sleep(0.05)
