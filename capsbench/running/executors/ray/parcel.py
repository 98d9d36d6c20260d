"""What travels between the run and the processes of its jobs on other machines, as bytes: work, and events with their files."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsbench.records.disk import write_file
from capsbench.running.executors.base import Job, Place, SendEvent


@dataclass(frozen=True)
class Parcel:
    """An event of a job, with the files that it names.

    Attributes:
        files: path inside the results folder -> content.
    """

    event: Any
    files: dict[str, bytes]

    def write_files(self, folder: Path) -> None:
        """Writes the files into a results folder, each completely or not at all; raises StorageFailed."""
        for path, content in self.files.items():
            write_file(folder / path, content)


def pack_work(job: Job) -> bytes:
    """Returns the work of a job as bytes, for `do_work`."""
    return pickle.dumps((job.function, job.arguments))


def do_work(work: bytes, place: Place, send: SendEvent) -> bytes:
    """Does the work of a job in its own process, and returns the result; events are sent as parcels. Both are bytes.

    The process that starts this one passes the bytes on without reading them: it needs no torch, which takes seconds to import.
    """
    function, arguments = pickle.loads(work)
    return pickle.dumps(function(*arguments, place, make_packed_send(place.store.folder, send)))


def make_packed_send(folder: Path, send: SendEvent) -> Callable[[Any], None]:
    """Returns a function that sends an event with the files of the folder that it names."""
    from capsbench.running.events import list_artifacts

    def send_packed(event: Any) -> None:
        files = {artifact.path: (folder / artifact.path).read_bytes() for artifact in list_artifacts(event)}
        send(pickle.dumps(Parcel(event, files)))

    return send_packed


def read_files(folder: Path, paths: Iterable[str]) -> dict[str, bytes]:
    """Returns path -> content of those of some files in a folder that exist."""
    return {path: (folder / path).read_bytes() for path in paths if (folder / path).is_file()}
