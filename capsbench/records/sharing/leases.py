"""Leases of cells: of many commands that write into one folder, one works on a cell at a time.

A lease is a file ``leases/CELL.GENERATION.json`` that its holder makes exclusively, which is atomic on NFS, too. The highest
generation holds the cell. Its holder rewrites its file every few seconds, as a heartbeat that also tells what it is doing. A
lease is stale once its holder has died on this machine, or its file has not changed for some time by the clock of the process
that waits; the clocks of machines are never compared. Whoever finds a stale lease makes the next generation; of several, one
succeeds. A holder that was suspended finds a higher generation, none, or another token, and has lost its lease.

A lease guards against double work, not against damage: every file of the folder is whole or absent, whoever writes it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic

from capsbench.errors import StorageFailed
from capsbench.records.disk import make_folder, read_file
from capsbench.records.sharing.activity import Activity
from capsbench.records.sharing.process import Process, identify_process

SECONDS_BETWEEN_BEATS = 10.0
SECONDS_UNTIL_STALE = 120.0
"""Longer than the file attributes of a network disk are cached, and than a machine under load needs for some beats."""

LONGEST = 4096
"""The bytes of a file: each beat overwrites all of them in place, so that no reader sees parts of two beats."""

LONGEST_HELD = 1e9
"""The most seconds that a lease can have been held."""

_NAME = re.compile(r"([0-9a-f]{12})\.(\d{1,9})\.json")

LAST_GENERATION = 10**9 - 1
"""The last one whose file has such a name."""

_ended_tokens: set[str] = set()
"""The tokens of leases of this process that have ended, of which a disk may have refused to remove the files."""


@dataclass(frozen=True)
class Lease:
    """A lease as it was read.

    Attributes:
        token: made by its holder at random.
        seconds: how long its holder had it at the latest heartbeat.
        is_stale: the holder has died, or has not renewed the lease for some time: another process may take it over.
    """

    cell_id: str
    generation: int
    token: str
    holder: Process
    seconds: float
    activity: Activity
    is_stale: bool = False


class Leases:
    """The leases of a results folder; those that this process takes are kept alive by a thread.

    Args:
        folder: the results folder.
        seconds_until_stale: the time after which a lease without a heartbeat may be taken over.
    """

    def __init__(self, folder: Path, seconds_until_stale: float = SECONDS_UNTIL_STALE) -> None:
        self.folder = folder / "leases"
        self.seconds_until_stale = seconds_until_stale
        self.held: dict[str, Path] = {}
        """Cell identity -> the file of its lease, of those held by this process."""
        self.token = secrets.token_hex(8)
        self.taken: dict[str, float] = {}
        """Cell identity -> the time at which its lease was taken, of those held by this process."""
        self.activities: dict[str, Activity] = {}
        self.lost: set[str] = set()
        self.seen: dict[Path, tuple[bytes, float]] = {}
        """File of another's lease -> its content, and the time at which it was first seen."""
        self._guard, self._ended = Lock(), Event()
        self._beats = 0

    def __enter__(self) -> Leases:
        Thread(target=self._beat_until_end, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        try:
            for cell_id in [*self.held]:
                self.release(cell_id)
        finally:
            _ended_tokens.add(self.token)

    def take(self, cell_id: str) -> bool:
        """Takes the lease of a cell; returns false if another process holds it.

        What is on record of the cell must be read after this: another process may have worked on it until now.

        Raises:
            StorageFailed: the file cannot be written, or the others cannot be read.
        """
        if self.is_held(cell_id):  # the disk refused to remove it when it was given back
            return True
        generation, path = max(self._list_generations(cell_id), default=(0, self.folder))
        if generation and not self._is_stale(path):
            return False
        if generation == LAST_GENERATION:  # no process came so far: the file is damaged or hostile
            with suppress(OSError):
                path.unlink()
            return False
        path = self.folder / f"{cell_id}.{generation + 1}.json"
        self.taken[cell_id] = monotonic()
        try:
            make_folder(self.folder)
            with path.open("xb") as file:
                file.write(self._to_bytes(cell_id))
        except FileExistsError:  # another process was faster
            return False
        except OSError as error:
            with suppress(OSError):  # half a lease would keep the cell from others for a while
                path.unlink(missing_ok=True)
            raise StorageFailed(f"{path}: cannot be written: {error.strerror}") from error
        with self._guard:
            self.held[cell_id] = path
            self.lost.discard(cell_id)
        return True

    def release(self, cell_id: str) -> None:
        """Gives a lease back; no effect on one that is not held."""
        with self._guard:
            self.activities.pop(cell_id, None)
        try:
            if self.is_held(cell_id):
                # The highest generation goes last: a stale one must not become the highest.
                for _, older in sorted(self._list_generations(cell_id)):
                    older.unlink(missing_ok=True)
        except (OSError, StorageFailed):  # tried again at the end, and stale after it
            return
        with self._guard:
            self.held.pop(cell_id, None)

    def remove_stale(self) -> None:
        """Removes stale leases: of a cell that is finished, nobody would take the lease over."""
        with suppress(StorageFailed):
            for cell_id in [lease.cell_id for lease in self.read_all() if lease.is_stale]:
                if self.take(cell_id):
                    self.release(cell_id)

    def describe(self, cell_id: str, activity: Activity) -> None:
        """Tells what is being done for a cell; others read it once its lease is taken, or after the next heartbeat."""
        with self._guard:
            self.activities[cell_id] = activity

    def is_held(self, cell_id: str) -> bool:
        """Returns true if this process still holds the lease of a cell."""
        path = self.held.get(cell_id)
        if path is None or cell_id in self.lost:
            return False
        highest = max(self._list_generations(cell_id), default=None)
        # Its file may have been removed since, and made again by another holder.
        if highest is None or highest[1] != path or ((lease := _read_lease(path)) and lease.token != self.token):
            self.lost.add(cell_id)
            return False
        return True

    def read_all(self) -> list[Lease]:
        """Reads the lease of each cell that has one, stale ones included; unreadable ones are left out.

        A lease of another machine is found stale by a later call only, after some time without a heartbeat.
        """
        highest: dict[str, tuple[int, Path]] = {}
        for cell_id, generation, path in self._list_files():
            highest[cell_id] = max(highest.get(cell_id, (0, path)), (generation, path))
        leases = ((self._is_stale(path), _read_lease(path)) for _, path in highest.values())
        return [replace(lease, is_stale=is_stale) for is_stale, lease in leases if lease is not None]

    def _list_files(self) -> Iterator[tuple[str, int, Path]]:
        """Yields the cell, the generation and the path of each file; raises StorageFailed."""
        try:
            with os.scandir(self.folder) as entries:
                names = [entry.name for entry in entries]
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageFailed(f"{self.folder}: cannot be read: {error.strerror}") from error
        for name in names:
            if parts := _NAME.fullmatch(name):
                yield parts[1], int(parts[2]), self.folder / name

    def _list_generations(self, cell_id: str) -> list[tuple[int, Path]]:
        return [(generation, path) for name, generation, path in self._list_files() if name == cell_id]

    def _is_stale(self, path: Path) -> bool:
        try:
            content = read_file(path)
        except FileNotFoundError:
            return True
        except OSError as error:  # such as a folder: it does not beat either
            content = str(error.strerror).encode()
        lease = _parse_lease(path, content)
        if lease is not None and (lease.holder.is_dead or lease.token in _ended_tokens):
            return True
        # A file that its holder has just made is still empty, which is a content like any other.
        if path not in self.seen or self.seen[path][0] != content:
            self.seen[path] = content, monotonic()
            return False
        return monotonic() - self.seen[path][1] >= self.seconds_until_stale

    def _beat_until_end(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_BEATS):
            self.beat()

    def beat(self) -> None:
        """Rewrites the files of all leases held."""
        with self._guard:
            held, self._beats = dict(self.held), self._beats + 1
        for cell_id, path in held.items():
            with suppress(OSError, StorageFailed):  # the next beat tries again
                if self.is_held(cell_id):
                    with path.open("rb+") as file:  # never makes a file that was removed
                        file.write(self._to_bytes(cell_id))

    def _to_bytes(self, cell_id: str) -> bytes:
        facts = {
            "token": self.token,
            "beat": self._beats,
            "holder": identify_process(os.getpid())._asdict(),
            "seconds": round(monotonic() - self.taken[cell_id], 1),
            "activity": asdict(self.activities.get(cell_id, Activity())),
        }
        content = json.dumps(facts).encode()
        if len(content) > LONGEST:  # names of a user's own parts may be long
            content = json.dumps({**facts, "activity": {}}).encode()
        return content.ljust(LONGEST)


def _read_lease(path: Path) -> Lease | None:
    try:
        return _parse_lease(path, read_file(path))
    except OSError:
        return None


def _parse_lease(path: Path, content: bytes) -> Lease | None:
    """Returns the lease of a file; None if it is not whole, as right after it was made."""
    name = _NAME.fullmatch(path.name)
    assert name is not None
    try:
        facts = json.loads(content)
        holder = Process(**facts["holder"])
        if not isinstance(facts["activity"], dict) or not isinstance(holder.number, int):
            return None
        seconds, activity = float(facts["seconds"]), Activity.from_facts(facts["activity"])
        if not 0 <= seconds <= LONGEST_HELD:
            return None
        return Lease(name[1], int(name[2]), str(facts["token"]), holder, seconds, activity)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
