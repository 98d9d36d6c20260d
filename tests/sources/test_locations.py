from collections.abc import Iterator
from pathlib import Path

import pytest

from capsbench.sources import locations
from capsbench.sources.locations import Location


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(locations, "_locations", {})
    return


def test_a_folder_has_the_same_name_however_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "shapes").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for typed in (
        "data/shapes",
        "data/shapes/",
        "./data/../data/shapes",
        "~/data/shapes",
        str(tmp_path / "data/shapes"),
    ):
        assert locations.locate(f"folder:{typed}") == "folder:shapes"
        assert locations.path_of("folder:shapes") == str(tmp_path / "data" / "shapes")
        assert locations.spell_typed("folder:shapes") == f"folder:{typed}"
    monkeypatch.chdir(tmp_path / "data" / "shapes")
    assert locations.locate("folder:.") == "folder:shapes"


@pytest.mark.parametrize("typed", ["digits", "my.module:Mine", "folder:", "folder:none/such", "npz:" + "x" * 5000])
def test_other_names_stay_as_they_are(typed: str) -> None:
    assert locations.locate(typed) == typed
    assert not locations.is_located(typed)
    assert locations.spell_typed(typed) == typed
    assert locations.spec_of(typed) is None


def test_locations_travel_to_another_process_and_the_users_word_counts(tmp_path: Path) -> None:
    (tmp_path / "shapes").mkdir()
    name = locations.locate(f"folder:{tmp_path / 'shapes'}")
    specs = locations.list_specs()
    assert specs == {f"folder:{tmp_path / 'shapes'}"} == {locations.spec_of(name)}
    assert all(map(locations.is_spec, specs))
    locations.place(name, Location("/elsewhere/shapes", "folder:shapes"))
    locations.restore(specs, replace=False)
    assert locations.path_of(name) == "/elsewhere/shapes"
    locations.restore(specs)
    assert locations.path_of(name) == str(tmp_path / "shapes")


def test_only_known_schemes_are_split() -> None:
    assert locations.split_scheme("folder:a:b") == ("folder", "a:b")
    assert locations.split_scheme("module:Class") == ("", "module:Class")
    assert not locations.is_spec("module:/Class")
    assert not locations.is_spec("folder:relative")
