import pytest

from capsbench import registry
from capsbench.records.record import Measurement, Training
from capsbench.records.versions import Stale, describe_stale, stale_measures, stale_training, training_versions
from tests.making import make_capsules, make_failed, make_record


@pytest.fixture
def raise_version(monkeypatch):
    """Makes components of another version, as an edit of their source would."""
    raised = {}
    declared = registry.declared_version
    monkeypatch.setattr(
        registry, "declared_version", lambda kind, name: raised.get((kind, name)) or declared(kind, name)
    )

    def to(version, kind, name):
        raised[kind, name] = version

    return to


def trained(cell=None, **versions):
    cell = cell or make_capsules()
    record = make_record(cell, measured=["accuracy", "adversarial:full"])
    training = Training(versions={**training_versions(cell), **versions})
    return type(record)(cell, training, record.measures)


@pytest.mark.parametrize("kind", registry.BUILT_IN)
def test_every_component_declares_the_version_that_its_class_has(kind):
    for name in registry.BUILT_IN[kind]:
        assert registry.declared_version(kind, name) == getattr(registry.get(kind, name), "version", 1)


def test_the_training_loop_declares_its_version():
    from capsbench.training import loop

    assert registry.training_version() == loop.VERSION


def test_a_users_own_declares_none():
    assert registry.declared_version("routing", "my.module:Mine") is None


def test_nothing_is_stale_as_it_was_made():
    assert stale_training(trained()) == []
    assert stale_measures(trained()) == {}
    assert describe_stale([trained(), make_failed(make_capsules())]) == []


@pytest.mark.parametrize(
    ("kind", "name"), [("routing", "em"), ("network", "matrix-capsules"), ("loss", "spread"), ("dataset", "digits")]
)
def test_another_version_of_a_component_makes_its_networks_stale(raise_version, kind, name):
    record = trained()
    raise_version(2, kind, name)
    assert stale_training(record) == [Stale(f"{kind} {name}", 1, 2)]
    other = trained(make_capsules(routing="dynamic", network="capsnet", loss="margin", dataset="mnist"))
    assert stale_training(other) == []
    (line,) = describe_stale([record, record, other])
    assert f"{kind} {name} (version 1, now 2)" in line
    assert "2 networks" in line


def test_another_version_of_a_measure_makes_its_numbers_stale(raise_version):
    record = trained()
    raise_version(3, "measure", "adversarial")
    assert stale_training(record) == []
    assert stale_measures(record) == {"adversarial:full": Stale("measure adversarial:full", 1, 3)}
    taken_anew = {**record.measures, "adversarial:full": Measurement(version=3)}
    assert stale_measures(type(record)(record.cell, record.training, taken_anew)) == {}
