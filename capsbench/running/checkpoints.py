"""The checkpoints of a training on disk: when one is written, and which one a training goes on from."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from torch import nn

from capsbench.errors import Kind, StorageFailed, UsageError
from capsbench.records.artifacts import read_sealed, write_sealed
from capsbench.records.cell import Cell, Whole
from capsbench.records.parse import UnfitError, parse_json
from capsbench.records.record import Artifact, Name, Segment
from capsbench.records.software.provenance import provenance
from capsbench.records.store import Store
from capsbench.records.versions import find_stale, training_versions
from capsbench.running.events import Checkpointed, Remarked, Resumed
from capsbench.running.executors.base import SendEvent
from capsbench.training.checkpoint import Checkpoint

SCHEMA = 1
"""The layout of the file; a training does not go on from another one."""

TERMINATED = 128 + signal.SIGTERM
"""The exit code of a process that SIGTERM ended."""


@dataclass(frozen=True)
class Origin:
    """The training that a checkpoint is of.

    Attributes:
        cell: its identity.
        versions: those of its components.
        data: digest of the data that it loaded.
        segments: its parts so far; the checkpoint is the end of the last one.
    """

    schema: Whole
    cell: Name
    versions: Mapping[Name, Whole]
    data: Name
    segments: list[Segment]


_ORIGIN = TypeAdapter(Origin)


def count_epochs(path: Path) -> int:
    """Returns the epochs that a checkpoint holds; 0 if it cannot be read. Whether it is whole is checked when it is used."""
    if not path.is_file():  # to open a pipe would block
        return 0
    try:
        with safe_open(path, "numpy") as content:
            origin = parse_json(_ORIGIN, content.metadata()["origin"].encode())
    except (OSError, SafetensorError, UnfitError, KeyError, TypeError):
        return 0
    return max(0, sum(segment.epochs for segment in origin.segments))


class _Held(NamedTuple):
    """The end of an epoch, in memory."""

    checkpoint: Checkpoint
    segments: list[Segment]


class CheckpointFile:
    """Keeps the checkpoints of a training in a file of the results folder (`capsbench.training.checkpoint.Checkpoints`).

    The end of the last epoch is always held in memory. It is written once the file is old enough, and at SIGTERM.

    Args:
        data: digest of the data that the training loaded.
        seconds: the least time between two writes.
        send: receives `Resumed`, `Checkpointed`, and a remark if a file cannot be read or written.
    """

    def __init__(self, cell: Cell, data: str, store: Store, seconds: float, send: SendEvent) -> None:
        self.cell, self.data, self.store, self.seconds, self.send = cell, data, store, seconds, send
        self.path = store.checkpoint_path(cell.id)
        self.machine = provenance()
        self.started, self.began = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
        self.segments_before: list[Segment] = []
        self.held: _Held | None = None
        self.written: _Held | None = None
        self.written_at = self.began
        self.fault = ""

    def load(self, network: nn.Module) -> Checkpoint | None:
        """Returns the checkpoint in the file; None, with a remark, if it is damaged or of another training."""
        try:
            origin, checkpoint = self._read()
            self._check_origin(origin)
            if not checkpoint.fits(network):
                raise UsageError(Kind.CONFLICT, "its network has other weights", file=self.path)
        except UsageError as error:
            if error.kind is not Kind.MISSING:
                self.send(Remarked(f"trains from the start, since its checkpoint cannot be used: {error}"))
            return None
        self.segments_before = origin.segments
        self.send(Resumed(checkpoint.course.epoch, self.cell.epochs))
        return checkpoint

    def save(self, checkpoint: Checkpoint) -> None:
        """Holds the checkpoint of an epoch that ended, and writes it if the last write is long enough ago."""
        self.held = _Held(checkpoint, self.list_segments(checkpoint.course.epoch))
        if time.monotonic() - self.written_at < self.seconds:
            return
        try:
            self._write(self.held)
            self.send(Checkpointed(Artifact(self.path.relative_to(self.store.folder).as_posix())))
        except StorageFailed as error:  # the training itself needs no disk yet
            if str(error) != self.fault:
                self.send(Remarked(f"an interruption now would lose epochs: {error}"))
            self.fault = str(error)
        self.written_at = time.monotonic()

    def list_segments(self, epochs: int) -> list[Segment]:
        """Returns the parts of the training, after so many epochs in all: those of earlier processes, and that of this one."""
        epochs_before = sum(segment.epochs for segment in self.segments_before)
        seconds = round(time.monotonic() - self.began, 3)
        return [*self.segments_before, Segment(epochs - epochs_before, self.started, seconds, self.machine)]

    @contextmanager
    def written_at_sigterm(self) -> Iterator[None]:
        """Lets SIGTERM write the end of the last epoch and exit this process at once, with code 143, within the block."""
        process = os.getpid()

        def handle_sigterm(number: int, frame: FrameType | None) -> NoReturn:
            try:
                # A copy of this process, forked by a user's own code, knows an old state only.
                if self.held is not None and self.held is not self.written and os.getpid() == process:
                    self._write(self.held)
            finally:
                os._exit(TERMINATED)

        before = signal.signal(signal.SIGTERM, handle_sigterm)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _write(self, held: _Held) -> None:
        # No event is sent here: SIGTERM may have come while another one was on its way.
        state, tensors = held.checkpoint.to_parts()
        origin = Origin(SCHEMA, self.cell.id, training_versions(self.cell), self.data, held.segments)
        write_sealed(self.path, tensors, {"origin": json.dumps(asdict(origin)), "state": json.dumps(state)})
        self.written = held

    def _read(self) -> tuple[Origin, Checkpoint]:
        tensors, texts = read_sealed(self.path)
        try:
            origin = parse_json(_ORIGIN, texts["origin"].encode())
            return origin, Checkpoint.from_parts(json.loads(texts["state"]), tensors)
        except (UnfitError, ValueError, KeyError, RecursionError) as error:
            raise UsageError(Kind.DAMAGED, f"not a whole checkpoint ({error})", file=self.path) from error

    def _check_origin(self, origin: Origin) -> None:
        """Raises UsageError for a checkpoint of another training, whose weights would differ."""
        problem = ""
        if (origin.schema, origin.cell) != (SCHEMA, self.cell.id):
            problem = "of another cell, or of another version of capsbench"
        elif stale := find_stale(self.cell, origin.versions):
            problem = f"made with another {', '.join(map(str, stale))}"
        elif origin.data != self.data:
            problem = "made with other images or labels"
        if problem:
            raise UsageError(Kind.CONFLICT, problem, file=self.path)
