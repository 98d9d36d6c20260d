"""The queues that take array tasks: that of Slurm, and processes of this machine, with which the tests do without a Slurm."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import submitit

from capsbench.errors import Kind, StorageFailed, UsageError, message_of
from capsbench.running.executors.slurm.task import Task

DEFAULT_MINUTES = 60
"""The time limit of a task. A longer training goes on in the same task, which is queued again."""

MOST_LIMITS = 20
"""The time limits that a task may reach before it counts as failed: it may make no progress at all."""

LARGEST_ARRAY = 1000
"""The most tasks of an array: what Slurm allows unless it is configured otherwise."""

GENERIC = {"name", "timeout_min", "mem_gb", "gpus_per_node", "stderr_to_stdout"}
"""The options that submitit knows for every cluster; others have the prefix ``slurm_`` there."""

SHORTEST_MINUTES = 3
"""The shortest time limit. Slurm may signal it 150 s ahead: submitit asks for 90, which Slurm may exceed by a minute."""

USUAL_REASONS = {"None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "Dependency", "Cleaning", "Prolog"}
"""The reasons of Slurm why a task waits that end by themselves."""

OWN = {"nodes", "tasks_per_node", "ntasks_per_node", "cpus_per_task", "timeout_min"}
"""Options that a user may not set: a task is one process on one node with the threads of its cell."""


class SlurmQueue:
    """The queue of Slurm.

    Args:
        folder: the folder for submitit's files.
        options: names and values as a user typed them: ``cluster``, ``time``, and the options of submitit.
    """

    shielded = frozenset({signal.SIGINT, signal.SIGTERM})
    """The signals that do not end a submission: Ctrl-C in a terminal goes to ``sbatch``, too, whose task nobody would know."""

    def __init__(self, folder: Path, options: Mapping[str, str]) -> None:
        self.folder = folder
        options = dict(options)
        self.cluster = options.pop("cluster", "slurm")
        minutes = parse_minutes(options.get("time", str(DEFAULT_MINUTES)))
        if minutes < SHORTEST_MINUTES:
            expected = f"a time limit of at least {SHORTEST_MINUTES} minutes"
            raise UsageError(Kind.INVALID, flag="slurm", expected=expected, value=f"time={options['time']}")
        if taken := OWN & options.keys():
            raise UsageError(Kind.CONFLICT, "capsbench sets it itself", flag="slurm", value=min(taken))
        known = {*GENERIC, *submitit.SlurmExecutor._valid_parameters()} - OWN
        for name in sorted(options.keys() - known):
            raise UsageError(Kind.UNKNOWN, flag="slurm", value=name, expected=sorted({*known, "cluster"}))
        values = {name: _parse_value(value) for name, value in options.items() if name != "time"}
        # Also on clusters that queue no task again unless it asks for that: it is how trainings outlive the time limit.
        further: dict[str, Any] = {"requeue": True}
        if "mem" in values:  # as in Slurm, such as 4G; submitit has only mem_gb
            further["mem"] = values.pop("mem")
        self.parameters: dict[str, Any] = {"name": "capsbench", "timeout_min": minutes, **values}
        if not isinstance(given := values.get("additional_parameters", {}), dict):
            expected = 'JSON such as additional_parameters={"reservation": "tuesday"}'
            raise UsageError(Kind.INVALID, flag="slurm", expected=expected, value=f"additional_parameters={given}")
        self.parameters["additional_parameters"] = {**further, **given}
        self.submitted: dict[str, submitit.Job[None]] = {}
        """Identity of a task -> what submitit knows of it, for those that this process submitted."""
        self._make_executor({})  # refuses unknown options before anything is submitted

    def submit(self, tasks: Sequence[Task], *, alone: bool = False) -> list[str]:
        """Submits tasks with equal needs as one array, and returns their identities.

        Args:
            alone: ask for whole nodes.
        """
        job = tasks[0].jobs[0]
        needs: dict[str, Any] = {"cpus_per_task": job.threads, "array_parallelism": len(tasks)}
        if job.device != "cpu" and not {"gres", "gpus_per_task"} & self.parameters.keys():
            needs["gpus_per_node"] = 1
        if alone:
            needs["exclusive"] = True
        # Since Slurm 22.05 a step does not take the cores of its task unless it asks for them: `-c` is --cpus-per-task.
        needs["srun_args"] = ["-c", f"{job.threads}"]
        executor = self._make_executor(needs)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self.shielded)
        try:
            with redirect_stderr(StringIO()):  # submitit prints there what it raises
                submitted = executor.submit_array([*tasks])
        except submitit.core.utils.FailedJobError as error:
            problem = message_of(error, first_line=True).removeprefix("sbatch: error: ")
            raise UsageError(Kind.INVALID, f"Slurm takes no job: {problem}", flag="slurm") from error
        except OSError as error:  # submitit writes the tasks as files
            raise StorageFailed(f"{self.folder}: cannot be written: {error.strerror or error}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.submitted |= {job.job_id: job for job in submitted}
        return [job.job_id for job in submitted]

    def _make_executor(self, needs: Mapping[str, Any]) -> submitit.AutoExecutor:
        parameters = {**needs, **self.parameters}
        shared = {*GENERIC, "cpus_per_task"}
        named = {name if name in shared else f"slurm_{name}": value for name, value in parameters.items()}
        try:
            executor = submitit.AutoExecutor(self.folder, self.cluster, slurm_max_num_timeout=MOST_LIMITS)
            executor.update_parameters(**named)
        except RuntimeError as error:
            remedy = "run the command on a machine that submits jobs to Slurm"
            raise UsageError(
                Kind.MISSING, message_of(error), flag="executor", value="slurm", expected=remedy
            ) from error
        except (AssertionError, NameError, TypeError, ValueError) as error:
            problem = message_of(error, first_line=True).replace("slurm_", "")
            raise UsageError(Kind.INVALID, problem, flag="slurm") from error
        return executor

    def find_queued(self, tasks: Iterable[str]) -> dict[str, str]:
        """Returns those of some tasks that wait or run; all of them while Slurm does not answer.

        The value is the reason of Slurm why a task waits, if it does not end by itself, else empty.
        """
        command = ["squeue", "-h", "-r", "-u", str(os.getuid()), "-o", "%i %r"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode:
            return dict.fromkeys(tasks, "")
        reasons = {task: reason for task, _, reason in (line.partition(" ") for line in answer.stdout.splitlines())}
        usual = USUAL_REASONS | {""}
        return {task: "" if reasons[task] in usual else reasons[task] for task in tasks if task in reasons}

    def find_log(self, task: str) -> Path:
        """Returns the file with what a task wrote to its error output."""
        return self.folder / f"{task}_0_log.err"

    def explain_loss(self, task: str) -> str:
        """Returns the reason why a task ended, as far as Slurm knows it."""
        command = ["scontrol", "-o", "show", "job", task]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        facts = dict(re.findall(r"(\w+)=(\S+)", answer.stdout))
        if "JobState" not in facts:
            return "Slurm no longer knows it"
        exit_code = "" if facts.get("ExitCode") == "0:0" else f", exit code {facts.get('ExitCode')}"
        reason = "" if facts.get("Reason", "None") in USUAL_REASONS else f", {facts['Reason']}"
        node = f" on {facts['NodeList']}" if facts.get("NodeList", "(null)") != "(null)" else ""
        return f"{facts['JobState']}{reason}{exit_code}{node}"

    def cancel(self, tasks: Iterable[str]) -> None:
        """Cancels tasks that wait or run."""
        subprocess.run(["scancel", *tasks], capture_output=True, check=False)


class LocalQueue(SlurmQueue):
    """Processes of this machine that submitit starts at once, as many as there are tasks."""

    shielded = frozenset()  # the processes answer signals later

    def submit(self, tasks: Sequence[Task], *, alone: bool = False) -> list[str]:
        started: list[str] = []
        try:
            for task in tasks:
                started += super().submit([task], alone=alone)
        except BaseException:  # nobody would know of the processes that have started
            self.cancel(started)
            raise
        return started

    def find_queued(self, tasks: Iterable[str]) -> dict[str, str]:
        return {task: "" for task in tasks if self._is_running(task)}

    def _is_running(self, task: str) -> bool:
        if task in self.submitted:
            return bool(self.submitted[task].get_info()["jobState"] == "RUNNING")
        if not task.isdecimal():  # of a Slurm
            return False
        try:
            os.kill(int(task), 0)
            # Another process may have the number by now; one of these names the folder.
            return bytes(self.folder) in Path(f"/proc/{task}/cmdline").read_bytes()
        except FileNotFoundError:
            return not Path("/proc/self/cmdline").exists()  # a system without /proc
        except (OSError, OverflowError):
            return False

    def explain_loss(self, task: str) -> str:
        return "its process ended"

    def cancel(self, tasks: Iterable[str]) -> None:
        for task in tasks:
            with suppress(ProcessLookupError):
                os.kill(int(task), signal.SIGTERM)


def make_queue(folder: Path, options: Mapping[str, str]) -> SlurmQueue:
    """Makes the queue that the option ``cluster`` names, by default that of Slurm; raises UsageError."""
    queues = {"slurm": SlurmQueue, "local": LocalQueue}
    cluster = options.get("cluster", "slurm")
    if cluster not in queues:
        raise UsageError(Kind.INVALID, flag="slurm", expected="cluster=slurm or cluster=local", value=cluster)
    return queues[cluster](folder, options)


def parse_minutes(value: str) -> int:
    """Returns the minutes of a time limit as Slurm spells it: ``90``, ``1:30:00`` or ``2-12``; raises UsageError."""
    parts = re.fullmatch(r"(?:(\d{1,3})-)?(\d{1,6})(?::(\d{1,2}))?(?::(\d{1,2}))?", value.strip())
    minutes = 0
    if parts:
        days, *rest = parts.groups()
        times = [int(part) for part in rest if part is not None]
        if days is not None:  # DAYS-HOURS[:MINUTES[:SECONDS]]
            hours, minute, second = [*times, 0, 0][:3]
        elif len(times) == 3:
            hours, minute, second = times
        else:  # MINUTES[:SECONDS]
            hours, minute, second = 0, *[*times, 0][:2]
        minutes = (int(days or 0) * 24 + hours) * 60 + minute + (second > 0)
    if not minutes:
        expected = "a time limit such as time=90 (minutes), time=4:00:00 or time=2-12 (days-hours)"
        raise UsageError(Kind.INVALID, flag="slurm", expected=expected, value=f"time={value}")
    return minutes


def _parse_value(value: str) -> Any:
    """Returns a value of JSON, such as 4, true or ["module load cuda"], else the text itself."""
    try:
        return json.loads(value)
    except ValueError:
        return value
