import sys

import pytest

from capsbench import registry
from capsbench.errors import Kind, UsageError
from capsbench.routing import DynamicRouting

OWN = """
from capsbench.routing import DynamicRouting

class Mine(DynamicRouting):
    pass
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module of the user's in the folder they work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_routing.py").write_text(OWN)
    yield tmp_path / "my_routing.py"
    sys.modules.pop("my_routing", None)


@pytest.mark.parametrize("kind", registry.BUILT_IN)
def test_every_built_in_name_can_be_had(kind):
    for name in registry.BUILT_IN[kind]:
        assert callable(registry.get(kind, name))
        assert (registry.get(kind, name).__doc__ or "").strip()


def test_a_users_own_by_import_path(own_module):
    mine = registry.get("routing", "my_routing:Mine")
    assert issubclass(mine, DynamicRouting)


def test_an_edited_file_is_another_identity(own_module):
    before = registry.source_digest("routing", "my_routing:Mine")
    own_module.write_text(OWN + "# changed\n")
    assert registry.source_digest("routing", "my_routing:Mine") != before
    assert registry.source_digest("routing", "dynamic") is None


def test_an_edited_module_is_imported_anew(own_module):
    assert not hasattr(registry.get("routing", "my_routing:Mine"), "edited")
    own_module.write_text(OWN.replace("pass", "edited = True"))
    assert registry.get("routing", "my_routing:Mine").edited


def test_a_users_own_by_entry_point(monkeypatch):
    class Point:
        name = "theirs"

        def load(self):
            return DynamicRouting

    monkeypatch.setattr(registry, "_entry_points", lambda kind: {"theirs": Point()} if kind == "routing" else {})
    assert registry.get("routing", "theirs") is DynamicRouting
    assert registry.names("routing")[-1] == "theirs"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere:Mine", ModuleNotFoundError),
        ("my_routing:Other", AttributeError),
    ],
)
def test_a_path_that_cannot_be_imported_says_why(own_module, path, reason):
    with pytest.raises(UsageError) as caught:
        registry.get("routing", path)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.MISSING, "routing", path)
    assert isinstance(caught.value.__cause__, reason)
    assert f"{reason.__name__}: {caught.value.__cause__}" in str(caught.value)


def test_a_module_that_raises_is_one_line(own_module):
    own_module.write_text("1 / 0")
    with pytest.raises(UsageError) as caught:
        registry.get("routing", "my_routing:Mine")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.MISSING, "routing", "my_routing:Mine")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "\n" not in str(caught.value)


def test_an_entry_point_that_cannot_be_imported_says_why(monkeypatch):
    class Point:
        name = "theirs"

        def load(self):
            raise ImportError("no such module")

    monkeypatch.setattr(registry, "_entry_points", lambda kind: {"theirs": Point()})
    with pytest.raises(UsageError) as caught:
        registry.get("routing", "theirs")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.MISSING, "routing", "theirs")
    assert "no such module" in str(caught.value)
