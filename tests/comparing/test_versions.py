"""Components of other versions on either side of a comparison."""

from dataclasses import replace

from capsbench.comparing.side import Contender
from capsbench.comparing.versions import list_unjudged, other_measures, other_training, without_measures
from tests.comparing.records import record


def contend(training=None, **measures):
    """A contender of two seeds whose training and measures have the given versions in the second."""
    records = {}
    for seed in (0, 1):
        made = record(0.9, seed)
        versions = {"network": 1, "loss": 1} | (training or {} if seed else {})
        taken = {
            spec: replace(measurement, version=measures.get(spec, 1) if seed else 1)
            for spec, measurement in made.measures.items()
        }
        records[seed] = replace(made, training=replace(made.training, versions=versions), measures=taken)
    return Contender(records)


def test_equal_versions_are_judged():
    assert other_training(contend(), contend()) == other_measures(contend(), contend()) == []
    assert list_unjudged(contend(), contend()) == []


def test_a_component_of_another_version_in_any_seed_is_named():
    assert other_training(contend(), contend({"loss": 2})) == ["loss"]
    assert other_measures(contend(), contend(speed=2, accuracy=3)) == ["accuracy", "speed"]
    assert other_training(contend(), contend({"routing": 2})) == []  # one side alone knows of it
    ((name, reason),) = list_unjudged(contend(), contend({"loss": 2}, speed=2))
    assert name == "versions"
    assert "loss" in reason
    assert [name for name, _ in list_unjudged(contend(), contend(speed=2))] == ["speed"]


def test_measures_of_other_versions_are_left_out():
    contender = contend()
    left = without_measures(contender, ["speed"])
    assert {*left.records[0].measures} == {"accuracy", "affine", "cost"} & {*contender.records[0].measures}
    assert [*left.records] == [0, 1]
    assert without_measures(contender, []) is contender
