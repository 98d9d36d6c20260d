import sys
from importlib.metadata import EntryPoint

import pytest

from capsbench import api, registry
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
    registry.trust(["my_routing:Mine", "my_routing:DynamicRouting"])
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


def test_an_edited_component_is_another_identity_and_a_comment_is_none(own_module):
    before = registry.source_digest("routing", "my_routing:Mine")
    own_module.write_text(OWN + "# said\n")
    assert registry.source_digest("routing", "my_routing:Mine") == before
    own_module.write_text(OWN.replace("pass", "version = 2"))
    assert registry.source_digest("routing", "my_routing:Mine") != before
    assert registry.source_digest("routing", "dynamic") is None


def test_an_edited_module_that_it_imports_is_another_identity_and_loaded_anew(own_module):
    helper = own_module.with_name("my_helper.py")
    helper.write_text("scale = 1\n")
    own_module.write_text("from my_helper import scale\n" + OWN.replace("pass", "scale = scale"))
    before = registry.source_digest("routing", "my_routing:Mine")
    other = registry.get("routing", "my_routing:DynamicRouting")
    helper.write_text("scale = 2\n")  # as many bytes, in the same second
    assert registry.get("routing", "my_routing:Mine").scale == 2
    assert registry.source_digest("routing", "my_routing:Mine") != before
    assert registry.get("routing", "my_routing:DynamicRouting") is other
    del sys.modules["my_helper"]


def test_two_components_that_share_an_edited_module_both_have_it_anew(own_module):
    helper = own_module.with_name("my_helper.py")
    second = own_module.with_name("my_second.py")
    helper.write_text("scale = 1\n")
    for path in (own_module, second):
        path.write_text("from my_helper import scale\n" + OWN.replace("pass", "scale = scale"))
    paths = [("routing", "my_routing:Mine"), ("routing", "my_second:Mine")]
    registry.trust(path for _, path in paths)
    assert [registry.get(*each).scale for each in paths] == [1, 1]
    helper.write_text("scale = 2\n")
    assert [registry.get(*each).scale for each in paths] == [2, 2]
    for name in ("my_helper", "my_second"):
        del sys.modules[name]


def test_an_edited_module_is_imported_anew(own_module):
    assert not hasattr(registry.get("routing", "my_routing:Mine"), "edited")
    own_module.write_text(OWN.replace("pass", "edited = True"))
    assert registry.get("routing", "my_routing:Mine").edited


@pytest.mark.usefixtures("own_module")
def test_a_path_that_cannot_be_imported_says_why():
    registry.trust(["nowhere:Mine"])
    with pytest.raises(UsageError) as caught:
        registry.get("routing", "nowhere:Mine")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.MISSING, "routing", "nowhere:Mine")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert f"ModuleNotFoundError: {caught.value.__cause__}" in str(caught.value)


def test_a_name_that_a_module_lacks_is_refused_with_those_that_it_defines(own_module):
    own_module.write_text(OWN + "\ndef make():\n    pass\n\nclass _Hidden:\n    pass\n")
    registry.trust(["my_routing:mine"])
    with pytest.raises(UsageError) as caught:
        registry.get("routing", "my_routing:mine")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.UNKNOWN, "routing", "my_routing:mine")
    assert caught.value.expected == ("my_routing:Mine", "my_routing:make")


@pytest.mark.parametrize("path", ["my_routing.py:Mine", "./my_routing:Mine", "folder/my_routing.py:Mine"])
@pytest.mark.usefixtures("own_module")
def test_a_module_that_is_named_by_its_file_is_refused_with_its_name(path):
    registry.trust([path])
    with pytest.raises(UsageError) as caught:
        registry.get("routing", path)
    assert (caught.value.flag, caught.value.value) == ("routing", path)
    assert "my_routing:Mine" in caught.value.expected


def test_what_a_module_prints_while_it_is_imported_is_no_output(own_module, capsys):
    own_module.write_text("print('loaded')" + OWN)
    assert registry.get("routing", "my_routing:Mine")
    assert capsys.readouterr() == ("", "loaded\n")


def test_a_module_that_raises_is_one_line_that_names_its_own(own_module):
    own_module.write_text("import json\n\njson.loads('{')")
    with pytest.raises(UsageError) as caught:
        registry.get("routing", "my_routing:Mine")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.MISSING, "routing", "my_routing:Mine")
    assert isinstance(caught.value.__cause__, ValueError)
    assert "my_routing.py, line 3" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def installed(monkeypatch):
    """Makes entry points appear as those of installed distributions, as (kind, name, value)."""

    def install(*points):
        made = [EntryPoint(name, value, f"capsbench.{kind}") for kind, name, value in points]
        monkeypatch.setattr(registry, "entry_points", lambda group: [each for each in made if each.group == group])
        registry._read_entry_points.cache_clear()

    yield install
    registry._read_entry_points.cache_clear()


def test_a_users_own_by_entry_point(installed):
    installed(("routing", "theirs", "capsbench.routing:DynamicRouting"))
    assert registry.get("routing", "theirs") is DynamicRouting
    assert registry.names("routing")[-1] == "theirs"
    assert registry.names("network") == [*registry.BUILT_IN["network"]]


def test_an_entry_point_that_cannot_be_imported_says_why(installed):
    installed(("routing", "theirs", "no_such_module:Mine"))
    with pytest.raises(UsageError) as caught:
        registry.get("routing", "theirs")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.MISSING, "routing", "theirs")
    assert "no_such_module" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("routing", "em"),
        ("dataset", "mnist"),
        ("measure", "all"),
        ("network", "resnet"),  # a built-in baseline: both are asked for as a network
        ("baseline", "capsnet"),
    ],
)
def test_an_entry_point_whose_name_is_taken_is_ignored_and_named(installed, kind, name):
    installed((kind, name, "theirs:Thing"), (kind, "free", "theirs:Other"))
    assert registry.ignored_entry_points(kind).keys() == {name}
    assert registry.names(kind) == [*registry.BUILT_IN[kind], "free"]
    assert "theirs:Thing" in registry.about_name(kind, name)[0]
    assert registry.about_name(kind, "free") == []


def test_a_network_named_as_a_built_in_stays_what_it_is(installed):
    installed(("baseline", "capsnet", "theirs:CNN"))
    assert registry.kind_of("capsnet") == "network"
    assert "theirs:CNN" in registry.about_name("network", "capsnet")[0]


def test_of_two_entry_points_of_one_name_the_second_is_ignored(installed):
    installed(("routing", "fast", "one:Fast"), ("routing", "fast", "other:Fast"))
    assert registry._entry_points("routing")["fast"].value == "one:Fast"
    assert "other:Fast" in registry.ignored_entry_points("routing")["fast"]


def test_who_asks_for_an_ignored_name_is_told(installed):
    installed(("routing", "em", "theirs:EM"), ("measure", "affine", "theirs:Affine"), ("loss", "spread", "theirs:Loss"))
    plan = api.plan(routing="dynamic", measure="affine", baseline="none")
    assert [line for line in plan.remarks if "theirs" in line] == registry.about_name("measure", "affine")
    told = api.plan(routing="em", measure="accuracy", baseline="none").remarks
    assert {line for line in told if "theirs" in line} == {
        *registry.about_name("routing", "em"),
        *registry.about_name("loss", "spread"),
    }


def test_list_and_data_name_what_is_ignored(installed, capsbench, tmp_path):
    installed(("routing", "em", "theirs:EM"), ("dataset", "digits", "theirs:Digits"))
    assert "theirs:EM" in capsbench("list", "routing", cwd=tmp_path).stderr
    listed = capsbench("list", "--json", cwd=tmp_path)
    assert "theirs:EM" in listed.stderr
    assert "theirs:Digits" in listed.stderr
    assert "theirs" not in listed.stdout
    assert "theirs:Digits" in capsbench("data", "verify", "digits", cwd=tmp_path).stderr
