"""Files of versions in a results folder, from which pip installs the packages of a run: ``requirements/DIGEST.txt``.

A file is named by a digest of its content: the runs of one commit with the same packages share a file, those of others have their
own, and folders are merged by copying files. Which file is that of a record follows from the versions on record.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, entry_points
from pathlib import Path
from typing import Any, NamedTuple

from capsbench.errors import StorageFailed
from capsbench.records.disk import read_file, write_file
from capsbench.registry import BASES

FOLDER = "requirements"
"""The folder of these files in a results folder."""

NOT_OF_RUNS = ("dev", "test")
"""The extras of capsbench that no run needs."""

ON_RECORD = ("numba", "numpy", "torch", "torchvision", "triton")
"""The packages whose versions every record has."""

_NAME = re.compile(r"[0-9a-f]{12}\.txt")
_HEADER = re.compile(
    r"# capsbench (?P<capsbench>\S+), (?:commit (?P<commit>[0-9a-f]+)(?P<dirty> with uncommitted changes)?|no commit), "
    r"Python (?P<python>[^\s,]+)"
)
_PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>[^\s#;]+)")


class Pins(NamedTuple):
    """The facts in a file of versions, and its packages."""

    facts: Mapping[str, Any]
    versions: Mapping[str, str]


@cache
def list_installed(root: str = "capsbench") -> Mapping[str, str] | None:
    """Returns package -> version of all that a package needs and that is installed, without itself; None if it is not installed.

    These are the requirements of its requirements, too, those of its extras as far as they are installed, and the packages that
    add components of a user's by entry points. A package that came from no index has a version that begins with ``@``.
    """
    from packaging.requirements import Requirement  # readers of records do not need it
    from packaging.utils import canonicalize_name

    try:
        extras = {*(distribution(root).metadata.get_all("Provides-Extra") or ())} - {*NOT_OF_RUNS}
    except PackageNotFoundError:
        return None
    added = {point.dist.name for kind in BASES for point in entry_points(group=f"capsbench.{kind}") if point.dist}
    waiting: list[tuple[str, frozenset[str]]] = [(root, frozenset(extras)), *((name, frozenset()) for name in added)]
    seen: set[tuple[str, frozenset[str]]] = set()
    versions: dict[str, str] = {}
    while waiting:
        name, wanted = waiting.pop()
        key = canonicalize_name(name)
        if (key, wanted) in seen:
            continue
        seen.add((key, wanted))
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue
        elsewhere = installed.read_text("direct_url.json") is not None
        versions[key] = f"@{installed.version}" if elsewhere else installed.version
        for requirement in map(Requirement, installed.requires or ()):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    versions.pop(canonicalize_name(root), None)
    return dict(sorted(versions.items()))


def spell_requirements(facts: Mapping[str, Any], versions: Mapping[str, str], *notes: str) -> str:
    """Returns the content of a file of versions.

    Args:
        facts: as in a record: ``capsbench``, ``commit``, ``dirty`` and ``python``.
        versions: as `list_installed` returns them.
        notes: further facts for the first line, and then lines.
    """
    commit = f"commit {facts['commit']}" if facts.get("commit") else "no commit"
    dirty = " with uncommitted changes" if facts.get("commit") and facts.get("dirty") else ""
    lines = [f"# capsbench {facts.get('capsbench')}, {commit}{dirty}, Python {facts.get('python')}"]
    lines += [f"# {note}" for note in notes]
    for name, version in versions.items():
        pin = f"{name}=={version.removeprefix('@')}"
        lines.append(f"# {pin} was not installed from an index" if version.startswith("@") else pin)
    return "\n".join(lines) + "\n"


def spell_installed(facts: Mapping[str, Any]) -> str | None:
    """Returns the content of the file of this environment; None if capsbench is not installed in it."""
    versions = list_installed()
    if versions is None:
        return None
    how = "in a new environment of this Python: `pip install --no-deps -r FILE`, then capsbench itself at this commit"
    return spell_requirements(facts, versions, f"{platform.system()} {platform.machine()}; {how}")


def spell_recorded(facts: Mapping[str, Any]) -> str:
    """Returns the content of a file that has only the versions on record."""
    versions = {name: str(facts[name]).partition("+")[0] for name in ON_RECORD if facts.get(name)}
    return spell_requirements(facts, versions, "of the other packages no versions are on record")


def write_requirements(folder: Path, content: str) -> Path:
    """Writes a file of versions into a results folder, unless it is there, and returns its path; raises StorageFailed."""
    path = folder / FOLDER / f"{_digest(content.encode())}.txt"
    if not path.exists():
        write_file(path, content.encode())
    return path


def record_installed(folder: Path, facts: Mapping[str, Any]) -> str | None:
    """Writes the versions of this environment into a results folder; returns a line for the user if that fails.

    No number depends on this file, so that a run goes on without it.
    """
    content = spell_installed(facts)
    if content is None:
        return "the versions of packages are not written: capsbench is not installed as a package here"
    try:
        write_requirements(folder, content)
    except StorageFailed as error:
        return f"the versions of packages are not written: {error}"
    return None


def read_requirements(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yields the files of versions of a results folder, each with its content; damaged ones are left out."""
    for path in sorted((folder / FOLDER).glob("*.txt")):
        try:
            content = read_file(path, largest=2**20)
        except OSError:
            continue
        if _NAME.fullmatch(path.name) and path.stem == _digest(content):
            yield path, content.decode(errors="replace")


def find_requirements(folder: Path, facts: Mapping[str, Any]) -> Path | None:
    """Returns the file of versions that fits the facts of a record, the one with the most packages; None if there is none."""
    fitting = [
        (path, pins) for path, text in read_requirements(folder) if _fits(pins := parse_requirements(text), facts)
    ]
    return max(fitting, key=lambda entry: len(entry[1].versions))[0] if fitting else None


def parse_requirements(text: str) -> Pins:
    """Returns the facts and the versions in the content of a file."""
    header = _HEADER.match(text)
    facts: dict[str, Any] = {} if header is None else header.groupdict()
    facts["dirty"] = facts.get("dirty") is not None
    pins = (_PIN.match(line.removeprefix("# ")) for line in text.splitlines())
    return Pins(facts, {pin["name"]: pin["version"] for pin in pins if pin})


def _fits(pins: Pins, facts: Mapping[str, Any]) -> bool:
    same = all(pins.facts.get(name) == facts.get(name) for name in ("capsbench", "commit", "python"))
    if not same or pins.facts["dirty"] != bool(facts.get("commit") and facts.get("dirty")):
        return False
    # A wheel may add a label to its version that pip does not have: 2.15.0+cu132
    recorded = {name: str(facts[name] or "").partition("+")[0] for name in ON_RECORD if name in facts}
    return all(pins.versions.get(name, "").partition("+")[0] == version for name, version in recorded.items())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
