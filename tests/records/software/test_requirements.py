"""Files of versions: what they hold, where they lie, and which one is that of a record."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from capsbench.records.disk import StorageFailed
from capsbench.records.software import requirements as module
from capsbench.records.software.provenance import provenance
from capsbench.records.software.requirements import (
    find_requirements,
    list_installed,
    parse_requirements,
    read_requirements,
    record_installed,
    spell_installed,
    spell_recorded,
    spell_requirements,
    write_requirements,
)

FACTS: dict[str, Any] = {
    "capsbench": "0.1.0",
    "commit": "a" * 40,
    "dirty": False,
    "python": "3.11.7",
    "torch": "2.15.0+cu132",
    "numpy": "2.4.6",
    "triton": None,
}
VERSIONS = {"filelock": "3.20", "numpy": "2.4.6", "torch": "2.15.0"}


def test_a_file_pins_what_is_installed_and_needed() -> None:
    versions = list_installed()
    assert versions is not None
    assert all(versions[name] == version(name) for name in ("torch", "numpy", "numba", "sympy"))
    assert "capsbench" not in versions
    assert "pytest" not in versions  # no run needs it
    assert [*versions] == sorted(versions)


def test_pip_can_read_it_and_it_names_no_path_or_host() -> None:
    content = spell_installed(provenance())
    assert content is not None
    lines = [line for line in content.splitlines() if not line.startswith("#")]
    assert {line for line in lines for part in Requirement(line).specifier if part.operator != "=="} == set()
    assert len(lines) > 20
    assert not re.search(r"/|@|https?:", content.partition("\n")[2].partition("\n")[2])
    assert parse_requirements(content).facts["python"] == provenance()["python"]


def test_a_package_that_came_from_no_index_is_a_comment() -> None:
    content = spell_requirements(FACTS, {"mine": "@1.0", "numpy": "2.4.6"})
    assert content.splitlines()[1:] == ["# mine==1.0 was not installed from an index", "numpy==2.4.6"]
    assert parse_requirements(content).versions == {"mine": "1.0", "numpy": "2.4.6"}


def test_without_an_installed_package_nothing_is_known() -> None:
    assert list_installed("no-such-distribution") is None


def test_a_record_of_before_gives_the_versions_that_it_has() -> None:
    lines = spell_recorded(FACTS).splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["numpy==2.4.6", "torch==2.15.0"]


def test_runs_with_the_same_versions_share_a_file(tmp_path: Path) -> None:
    first = write_requirements(tmp_path, spell_requirements(FACTS, VERSIONS))
    assert write_requirements(tmp_path, spell_requirements(FACTS, VERSIONS)) == first
    other = write_requirements(tmp_path, spell_requirements({**FACTS, "commit": "b" * 40}, VERSIONS))
    assert {path for path, _ in read_requirements(tmp_path)} == {first, other}


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"node": "a"}, True),
        ({"torch": "2.15.0"}, True),
        ({"torch": "2.14.0+cu132"}, False),
        ({"triton": "3.9.0"}, False),
        ({"commit": "b" * 40}, False),
        ({"commit": None}, False),
        ({"dirty": True}, False),
        ({"python": "3.12.1"}, False),
    ],
)
def test_the_file_of_a_record_has_its_versions_and_its_commit(changes: dict, fits: bool, tmp_path: Path) -> None:
    path = write_requirements(tmp_path, spell_requirements(FACTS, VERSIONS))
    assert find_requirements(tmp_path, FACTS | changes) == (path if fits else None)


def test_the_file_with_the_most_packages_is_that_of_a_record(tmp_path: Path) -> None:
    write_requirements(tmp_path, spell_recorded(FACTS))
    whole = write_requirements(tmp_path, spell_requirements(FACTS, VERSIONS))
    assert find_requirements(tmp_path, FACTS) == whole


def test_a_damaged_file_and_others_are_passed_over(tmp_path: Path) -> None:
    path = write_requirements(tmp_path, spell_requirements(FACTS, VERSIONS))
    path.write_text(path.read_text() + "evil==1\n")
    (path.parent / "notes.txt").write_text("mine")
    (path.parent / f"{'0' * 12}.txt").mkdir()
    assert [*read_requirements(tmp_path)] == []


def test_a_full_disk_is_told_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise StorageFailed(f"{path}: No space left on device")

    monkeypatch.setattr(module, "write_file", refuse)
    line = record_installed(tmp_path, FACTS)
    assert line is not None
    assert "No space left" in line
    monkeypatch.setattr(module, "list_installed", lambda: None)
    assert "not installed" in str(record_installed(tmp_path, FACTS))
