"""The digest of a component changes with all that it is made of, and with nothing else."""

import importlib
import sys
import sysconfig
from pathlib import Path

import pytest

from capsbench.sources import changed_parts, forget_modules, read_source

FILES = {
    "mine.py": """
from helper import scale
from helper import unused
from package import table
import package.deep.down


RATE = 3
OTHER = 4


def route(votes):
    return scale(votes) * RATE


class Base:
    pass


class Mine(Base):
    def forward(self, votes):
        from late import last
        return last(route(votes), package.deep.down.DEPTH)


class Unrelated(Base):
    size = OTHER
""",
    "helper.py": """
import second

FACTOR = 2


def scale(votes):
    return FACTOR * votes


def unused(votes):
    return votes
""",
    "second.py": "VALUE = 1\n",
    "late.py": "def last(votes, depth):\n    return votes\n",
    "package/__init__.py": "from .inner import ROWS\ntable = ROWS\n",
    "package/inner.py": "ROWS = [1, 2]\n",
    "package/deep/__init__.py": "",
    "package/deep/down.py": "DEPTH = 3\n",
}


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder of a user's modules on the path of imports, which are forgotten after the test."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    write(tmp_path, FILES)
    yield tmp_path
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        if str(tmp_path) in f"{getattr(module, '__file__', '')} {getattr(module, '__path__', '')}":
            del sys.modules[name]
    importlib.invalidate_caches()


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    importlib.invalidate_caches()


def edit(folder, name, old, new):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def parts(module="mine", attribute="Mine"):
    importlib.import_module(module)
    return read_source(module, attribute).parts


def changed_by(folder, name, old, new, module="mine", attribute="Mine"):
    """The modules whose part is another after an edit."""
    before = parts(module, attribute)
    edit(folder, name, old, new)
    return changed_parts(before, parts(module, attribute))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("mine.py", "RATE = 3", "RATE = 5"),  # a constant of the function that the class calls
        ("mine.py", "class Base:\n    pass", "class Base:\n    eps = 1e-6"),
        ("mine.py", "last(route(votes)", "last(2 * route(votes)"),
        ("helper.py", "FACTOR * votes", "FACTOR + votes"),
        ("helper.py", "FACTOR = 2", "FACTOR = 3"),
        ("late.py", "return votes", "return depth"),  # imported inside a method
        ("package/deep/down.py", "DEPTH = 3", "DEPTH = 4"),
    ],
)
def test_an_edit_of_what_it_reaches_is_seen_and_placed(work, name, old, new):
    module = name.removesuffix(".py").replace("/", ".")
    assert changed_by(work, name, old, new) == [module]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("mine.py", "class Unrelated(Base):", "class Another(Base):\n    pass\n\n\nclass Unrelated(Base):"),
        ("mine.py", "size = OTHER", "size = OTHER + 1"),
        ("mine.py", "OTHER = 4", "OTHER = 5"),
        ("mine.py", "RATE = 3", "RATE =  3  # thrice"),
        ("mine.py", "def route(votes):\n", 'def route(votes):\n    """Scale them."""\n\n'),
        ("mine.py", "class Mine(Base):\n", 'class Mine(Base):\n    """Mine."""\n\n'),
        ("mine.py", "\n\nclass Base", "\nif __name__ == '__main__':\n    print(Mine())\n\n\nclass Base"),
        ("mine.py", "from helper import unused\n", "from helper import unused\nimport math\n"),
        ("helper.py", "def unused(votes):\n    return votes", "def unused(votes):\n    return -votes"),
        ("second.py", "VALUE = 1", "VALUE = 2"),
    ],
)
def test_an_edit_of_anything_else_is_none(work, name, old, new):
    assert changed_by(work, name, old, new) == []


@pytest.mark.parametrize(
    "line",
    [
        "Mine.rate = 2",
        "print('imported')",
        "for name in ('Mine',): pass",
        "import torch; torch.set_num_threads(1)",
        "if RATE > 2:\n    Mine = Unrelated",
        "from __future__ import annotations",
    ],
)
def test_a_statement_that_acts_counts_whoever_names_it(work, line):
    edit(work, "mine.py", "\nfrom helper import scale", "from helper import scale")
    place = "from helper import scale" if "__future__" in line else "class Unrelated"
    (work / "second.py").write_text("VALUE = 1\n")
    assert changed_by(work, "mine.py", place, f"{line}\n\n\n{place}") == ["mine"]


def test_a_statement_that_acts_in_a_module_that_is_only_imported_counts(work):
    assert "second" in changed_by(work, "second.py", "VALUE = 1", "import mine\n\nmine.RATE = 7")


@pytest.mark.parametrize(
    "body",
    ["return globals()[votes]", "return eval(votes)", "return getattr(self, votes)", "return sys.modules[__name__]"],
)
def test_where_names_do_not_tell_all_of_the_module_counts(work, body):
    edit(work, "mine.py", "        from late import last\n", f"        {body}\n        from late import last\n")
    assert changed_by(work, "mine.py", "size = OTHER", "size = 2") == ["mine"]


def test_a_name_in_a_string_is_a_name(work):
    edit(work, "mine.py", "return last(", "return getattr(self, 'OTHER') or last(")
    assert changed_by(work, "mine.py", "OTHER = 4", "OTHER = 5") == ["mine"]


def test_a_star_import_counts_with_all_of_its_module(work):
    edit(work, "mine.py", "from helper import unused", "from helper import *")
    assert changed_by(work, "helper.py", "return votes", "return -votes") == ["helper"]


def test_a_module_that_is_imported_itself_counts_whole(work):
    edit(work, "mine.py", "from helper import unused", "import helper")
    edit(work, "mine.py", "scale(votes) * RATE", "helper.scale(votes) * RATE")
    assert changed_by(work, "helper.py", "return votes", "return -votes") == ["helper"]


def test_classes_that_are_told_of_their_subclasses_make_every_class_count(work):
    edit(work, "mine.py", "class Base:\n    pass", "class Base:\n    def __init_subclass__(cls):\n        cls.n = 1")
    assert changed_by(work, "mine.py", "size = OTHER", "size = 2") == ["mine"]


def test_relative_imports_a_package_and_a_cycle(work):
    write(
        work,
        {
            "zoo/__init__.py": "NAME = 'zoo'\nfrom . import one\nfrom .one import One\n",
            "zoo/one.py": "from . import two\nfrom zoo import NAME\n\n\nclass One:\n    rows = two.ROWS\n    name = NAME\n",
            "zoo/two.py": "from zoo import one\n\nROWS = 2\n\n\ndef back():\n    return one.One\n",
        },
    )
    for path, old, new in [("two", "ROWS = 2", "ROWS = 3"), ("one", "two.ROWS", "two.ROWS + 1")]:
        assert changed_by(work, f"zoo/{path}.py", old, new, "zoo", "One") == [f"zoo.{path}"]
        assert changed_by(work, f"zoo/{path}.py", new, old, "zoo.one", "One") == [f"zoo.{path}"]
    assert changed_by(work, "zoo/__init__.py", "'zoo'", "'ark'", "zoo.one", "One") == ["zoo"]


def test_a_namespace_package_and_a_conditional_import(work):
    write(
        work,
        {
            "space/part.py": "WIDTH = 1\n",
            "own.py": "try:\n    from space import part\nexcept ImportError:\n    part = None\ntry:\n    import nowhere\n"
            "except ImportError:\n    nowhere = None\n\n\nclass Own:\n    part = part\n",
        },
    )
    assert changed_by(work, "space/part.py", "WIDTH = 1", "WIDTH = 2", "own", "Own") == ["space.part"]
    write(work, {"nowhere.py": "HERE = 1\n"})
    forget_modules(["own"])
    assert "nowhere" in parts("own", "Own")


@pytest.mark.parametrize("name", ["'space.' + 'part'", "'.part', 'space'"])
def test_an_import_by_name_is_followed_where_it_is_written_and_else_the_whole_folder_is(work, name):
    write(
        work,
        {
            "space/__init__.py": "",
            "space/part.py": "WIDTH = 1\n",
            "space/own.py": f"from importlib import import_module\n\n\nclass Own:\n    def part(self):\n"
            f"        return import_module({name})\n",
        },
    )
    assert changed_by(work, "space/part.py", "WIDTH = 1", "WIDTH = 2", "space.own", "Own") == ["space.part"]


def test_a_module_that_is_loaded_from_a_path_makes_the_whole_folder_count(work):
    load = "spec = util.spec_from_file_location('part', 'part.py')\n"
    write(
        work,
        {"part.py": "WIDTH = 1\n", "own.py": f"from importlib import util\n\n{load}\n\nclass Own:\n    width = spec\n"},
    )
    assert changed_by(work, "part.py", "WIDTH = 1", "WIDTH = 2", "own", "Own") == ["part"]


def test_a_compiled_extension_counts_by_its_bytes(work):
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    write(work, {"own.py": "class Own:\n    def run(self):\n        import compiled\n        return compiled.run()\n"})
    (work / f"compiled{suffix}").write_bytes(b"\x7fELF one")
    before = parts("own", "Own")
    (work / f"compiled{suffix}").write_bytes(b"\x7fELF two")
    assert changed_parts(before, parts("own", "Own")) == ["compiled"]


def test_a_module_that_vanishes_is_another_source(work):
    before = parts()
    (work / "late.py").unlink()
    assert changed_parts(before, parts()) == ["late"]


def test_what_is_installed_is_not_followed_but_the_components_own_package_is(work):
    write(
        work,
        {
            "site-packages/installed/__init__.py": "",
            "site-packages/installed/own.py": "from installed import other\nimport foreign\n\n\nclass Own:\n"
            "    value = other.VALUE, foreign.VALUE\n",
            "site-packages/installed/other.py": "VALUE = 1\n",
            "site-packages/foreign.py": "VALUE = 1\n",
        },
    )
    sys.path.insert(0, str(work / "site-packages"))
    assert set(parts("installed.own", "Own")) == {"installed.own", "installed.other"}
    assert changed_by(work, "site-packages/foreign.py", "1", "2", "installed.own", "Own") == []
    write(
        work,
        {
            "beside.py": "import torch\nimport numpy\nfrom capsbench.routing import Routing\n\n\nclass Own(Routing):\n    pass\n"
        },
    )
    assert set(parts("beside", "Own")) == {"beside"}


def test_the_digest_is_the_same_where_the_folder_is_another(work, tmp_path_factory):
    digest = read_source_of(work)
    other = tmp_path_factory.mktemp("other")
    write(other, FILES)
    forget_modules(["mine", "helper", "second", "late", "package"])
    sys.path[0] = str(other)
    assert read_source_of(other) == digest
    forget_modules(["mine", "helper", "second", "late", "package"])


def read_source_of(folder):
    assert Path(importlib.import_module("mine").__file__).parent == folder
    return read_source("mine", "Mine").digest


def test_what_has_no_file_has_no_source():
    assert read_source("builtins", "int") is None
