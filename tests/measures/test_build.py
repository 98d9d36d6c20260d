import pytest

from capsbench.errors import UsageError
from capsbench.measures import make_measure
from capsbench.measures.accuracy import Accuracy
from capsbench.measures.build import checked
from capsbench.measures.speed import Speed


@pytest.mark.parametrize(
    ("spec", "kind", "setting"),
    [
        ("accuracy", Accuracy, "default"),
        ("speed", Speed, "light"),
        ("speed:full", Speed, "full"),
        ("capsbench.measures.speed:Speed", Speed, "light"),
        ("capsbench.measures.speed:Speed:full", Speed, "full"),
    ],
)
def test_a_measure_by_name_or_import_path_and_setting(spec, kind, setting):
    measure = make_measure(spec)
    assert type(measure) is kind
    assert measure.setting == setting


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (
            ["adversarial", "accuracy", "adversarial:full"],
            "one setting of adversarial, got adversarial and adversarial:full",
        ),
        (["speed:full", "speed", "affine", "affine:full"], "one setting of affine, got affine and affine:full"),
        ([], "at least one measure, got none"),
    ],
)
def test_measures_that_do_not_go_together_are_named(specs, message):
    with pytest.raises(UsageError, match=f"^--measure: expected {message}$"):
        checked(specs)


def test_a_measure_asked_for_twice_is_one():
    assert checked(["speed", "accuracy", "speed"]) == ("accuracy", "speed")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("speed:fast", r"^--measure speed:fast: unknown setting 'fast'; choose from light, full, quick$"),
        ("sped", r"^--measure: unknown 'sped'; did you mean 'speed'\? [^\n]*$"),
        ("capsbench.measures.speed:Sped", r"^--measure: [^\n]* cannot be imported: [^\n]*$"),
    ],
)
def test_what_is_not_known_is_refused_in_one_line(spec, message):
    with pytest.raises(UsageError, match=message):
        make_measure(spec)
