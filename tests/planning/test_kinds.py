"""What a flag or a suite names is looked at before it is called: whatever is not of its kind never runs."""

import pytest

from capsbench import registry

ACTS = """
def act(*arguments, **options):
    open("acted", "w").close()

class Acts:
    sizes = recipe = load = applies_to = missing = classmethod(act)
    image = classes = routing = network = loss = property(act)

    def __init__(self, *arguments, **options):
        act()

instance = Acts.__new__(Acts)
partial = __import__("functools").partial(act)
"""


IN_A_REQUEST = [kind for kind in registry.BUILT_IN if kind != "tracker"]


def suite_of(kind, attribute):
    setting = ":setting" if kind == "measure" else ""
    return f'{kind} = ["acts_{kind}:{attribute}{setting}"]\nseeds = 0\n'


@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
@pytest.mark.parametrize("attribute", ["act", "Acts", "instance", "partial"])
@pytest.mark.parametrize("kind", IN_A_REQUEST)
def test_what_is_not_of_its_kind_is_refused_before_it_is_called(capsbench, tmp_path, kind, attribute, flags):
    (tmp_path / f"acts_{kind}.py").write_text(ACTS)
    (tmp_path / "suite.toml").write_text(suite_of(kind, attribute))
    done = capsbench("run", "--suite", "suite.toml", *flags, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    base = registry.BASES[kind].replace(":", ".")
    assert all(fact in done.stderr for fact in (f"--suite suite.toml: {kind}", f"'acts_{kind}:{attribute}'", base))
    assert not (tmp_path / "acted").exists()


@pytest.mark.parametrize("kind", registry.BUILT_IN)
def test_a_function_of_the_system_is_not_called(capsbench, tmp_path, kind):
    path = "os:system:touch acted" if kind == "measure" else "os:system"
    flag = "--track" if kind == "tracker" else f"--{kind}"
    done = capsbench("run", flag, path, "--dry-run", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert flag in done.stderr
    assert not (tmp_path / "acted").exists()


@pytest.mark.parametrize("kind", registry.BUILT_IN)
def test_every_built_in_component_is_of_its_kind(kind):
    base = registry._import_path(kind, registry.BASES[kind])
    for name in registry.BUILT_IN[kind]:
        assert issubclass(registry.get(kind, name), base)
