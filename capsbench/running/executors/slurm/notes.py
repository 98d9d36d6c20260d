"""Notes of what was submitted, in the results folder: a later command finds it there, and waits for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from capsbench.records.disk import read_file, write_file
from capsbench.records.parse import UnfitError, parse_json
from capsbench.running.executors.slurm.task import Task

_NOTE = TypeAdapter(dict[str, tuple[str, str]])
"""Name of a job -> the identity of its array task, and the name of the file for its result."""


class Submitted(NamedTuple):
    """A job that was submitted: the identity of its array task, and the file for its result."""

    task: str
    result: Path


class Notes:
    """The notes in a folder, one file a submission; a file is removed once all of its jobs have ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open: dict[Path, set[str]] = {}
        """File -> the names of its jobs that have not ended."""

    def write(self, tasks: Mapping[str, Task]) -> dict[str, Submitted]:
        """Notes the tasks of a submission by identity, and returns name -> what is noted of a job."""
        noted = {
            job.name: Submitted(identity, task.find_result(job.name))
            for identity, task in tasks.items()
            for job in task.jobs
        }
        path = self.folder / f"{min(tasks)}.json"
        facts = {name: [job.task, job.result.name] for name, job in noted.items()}
        write_file(path, json.dumps(facts).encode())
        self.open[path] = {*noted}
        return noted

    def read(self, results: Path) -> dict[str, Submitted]:
        """Returns name -> what is noted of a job, of earlier commands; that of the latest, if it was submitted again.

        Args:
            results: the folder of the results.
        """
        jobs: dict[str, Submitted] = {}
        times: dict[Path, int] = {}
        for path in self.folder.glob("*.json") if self.folder.is_dir() else []:
            with suppress(OSError):  # another command has removed it
                times[path] = path.stat().st_mtime_ns
        for path in sorted(times, key=lambda path: times[path]):
            with suppress(OSError, UnfitError):  # or it is not a note
                noted = parse_json(_NOTE, read_file(path))
                jobs |= {name: Submitted(task, results / Path(file).name) for name, (task, file) in noted.items()}
                self.open[path] = {*noted}
        return jobs

    def end(self, name: str) -> None:
        """Notes that a job has ended, and its result was passed on."""
        for path, names in [*self.open.items()]:
            names.discard(name)
            if not names:
                path.unlink(missing_ok=True)
                del self.open[path]
