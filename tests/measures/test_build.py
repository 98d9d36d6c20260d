import sys

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.measures import MeasureSpec, Metric, make_measure
from capsbench.measures.accuracy.measure import Accuracy
from capsbench.measures.build import check_measures, declaration_of, is_current, row_name
from capsbench.measures.speed.measure import Speed
from capsbench.planning.request import trust_named
from capsbench.records.record import Measurement
from capsbench.registry import source_digest


@pytest.mark.parametrize(
    ("spec", "kind", "setting"),
    [
        ("accuracy", Accuracy, "default"),
        ("speed", Speed, "light"),
        ("speed:full", Speed, "full"),
        ("capsbench.measures.speed.measure:Speed", Speed, "light"),
        ("capsbench.measures.speed.measure:Speed:full", Speed, "full"),
    ],
)
def test_a_measure_by_name_or_import_path_and_setting(spec, kind, setting):
    trust_named("measure", [spec])
    measure = make_measure(spec)
    assert type(measure) is kind
    assert measure.setting == setting


@pytest.mark.parametrize(
    ("specs", "kind", "value"),
    [
        ([], Kind.INVALID, []),
        (["all", "none"], Kind.CONFLICT, "all, none"),
        (["speed", "none"], Kind.CONFLICT, "none, speed"),
    ],
)
def test_measures_that_do_not_go_together_are_named(specs, kind, value):
    with pytest.raises(UsageError) as caught:
        check_measures(specs)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (kind, "measure", value)


def test_a_measure_asked_for_twice_is_one():
    assert check_measures(["speed", "accuracy", "speed"]) == ("accuracy", "speed")
    assert check_measures(["none"]) == ()


def test_all_stays_beside_what_is_named():
    assert check_measures(["speed:full", "all", "adversarial:light"]) == ("adversarial", "all", "speed:full")


def test_settings_stand_beside_each_other_and_the_default_goes_by_the_name_alone():
    assert check_measures(["adversarial:full", "adversarial:light", "adversarial"]) == (
        "adversarial",
        "adversarial:full",
    )


def test_what_was_taken_by_another_version_or_another_source_is_not_current(tmp_path, monkeypatch):
    assert is_current("accuracy", Measurement(version=1))
    assert not is_current("accuracy", Measurement(version=2))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "current.py").write_text("from capsbench.measures.accuracy.measure import Accuracy as Mine")
    trust_named("measure", ["current:Mine"])
    digest = source_digest("measure", "current:Mine")
    assert is_current("current:Mine", Measurement(code=digest))
    assert not is_current("current:Mine", Measurement(code="other"))


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("speed:fast", Kind.INVALID),
        ("sped", Kind.UNKNOWN),
        ("capsbench.measures.speed.measure:Sped", Kind.UNKNOWN),
        ("collections:OrderedDict", Kind.INVALID),
        ("collections:Counter", Kind.INVALID),
    ],
)
def test_what_is_not_known_is_refused_in_one_line(spec, kind):
    trust_named("measure", [spec])
    with pytest.raises(UsageError) as caught:
        make_measure(spec)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (kind, "measure", spec)
    assert "\n" not in str(caught.value)


def test_an_unknown_setting_comes_with_those_there_are():
    with pytest.raises(UsageError) as caught:
        make_measure("speed:fast")
    assert caught.value.__cause__.value == "fast"
    assert all(setting in str(caught.value) for setting in ("light", "full", "quick"))


INVALID = {
    "a word": "'words'",
    "a type": "MeasureSpec(3)",
    "a list": "MeasureSpec('mine', metrics=(Metric('m', 'u', columns='test'),))",
    "a name": "MeasureSpec('accuracy')",
    "the training": "MeasureSpec('training')",
}


@pytest.mark.parametrize("declared", INVALID.values(), ids=INVALID)
def test_invalid_declarations_are_refused_before_anything_runs(declared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    header = "from capsbench.measures import Measure, MeasureSpec, Metric\n\nclass Mine(Measure):\n"
    (tmp_path / "invalid_spec.py").write_text(
        f"{header}    spec = {declared}\n\n    def __call__(self, subject): ...\n"
    )
    trust_named("measure", ["invalid_spec:Mine"])
    with pytest.raises(UsageError) as caught:
        make_measure("invalid_spec:Mine")
    sys.modules.pop("invalid_spec", None)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "measure", "invalid_spec:Mine")
    assert "\n" not in str(caught.value)


def test_lists_become_tuples_and_built_in_measures_declare_nothing_for_their_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    header = "from capsbench.measures import Measure, MeasureSpec, Metric\n\nclass Mine(Measure):\n"
    spec = "MeasureSpec('mine', metrics=[Metric('m', 'u', columns=['test'])])"
    (tmp_path / "listed_spec.py").write_text(f"{header}    spec = {spec}\n\n    def __call__(self, subject): ...\n")
    trust_named("measure", ["listed_spec:Mine", "capsbench.measures.speed.measure:Speed"])
    assert declaration_of("listed_spec:Mine") == MeasureSpec("mine", (Metric("m", "u", columns=("test",)),))
    sys.modules.pop("listed_spec", None)
    assert declaration_of("speed:full") is None
    assert declaration_of("capsbench.measures.speed.measure:Speed") is None


def test_two_measures_of_one_name_are_refused_together_and_two_settings_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "same_name.py").write_text(
        "from capsbench.measures import Measure, MeasureSpec\n\nclass One(Measure):\n    spec = MeasureSpec('mine')\n"
        "    settings = ('default', 'full')\n    def __call__(self, subject): ...\n\nclass Two(One): ...\n"
        "class Other(One):\n    spec = MeasureSpec('other')\n"
    )
    trust_named("measure", ["same_name:One", "same_name:Two", "same_name:Other"])
    alone = ("same_name:One", "same_name:One:full", "same_name:Other")
    assert check_measures(alone) == alone
    with pytest.raises(UsageError) as caught:
        check_measures(["same_name:Two", "accuracy", "same_name:One"])
    sys.modules.pop("same_name", None)
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "measure")
    assert caught.value.value == "same_name:One, same_name:Two"


DECLARED_BADLY = """
from capsbench.measures import Measure


class Bad(Measure):
    {declared}

    def __call__(self, subject):
        return []
"""


@pytest.mark.parametrize(
    "declared",
    [
        'settings = "quick"',
        "settings = ()",
        'version = "2"',
        "version = True",
        "cost = 3",
        'alone = "yes"',
        "any_number = 1",
        "def __init__(self, setting):\n        self.level = 3",
    ],
)
def test_a_measure_of_a_users_own_that_declares_what_would_be_misread_is_refused(declared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = f"declaring_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(DECLARED_BADLY.format(declared=declared))
    trust_named("measure", [f"{module}:Bad"])
    with pytest.raises(UsageError) as caught:
        make_measure(f"{module}:Bad")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "measure", f"{module}:Bad")
    assert declared.partition(" ")[0] in caught.value.problem or "__init__" in caught.value.problem


def test_a_measure_and_a_subclass_with_its_declarations_are_not_taken_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "current.py").write_text("from capsbench.measures.accuracy.measure import Accuracy as Mine")
    trust_named("measure", ["current:Mine"])
    assert row_name("current:Mine") == row_name("accuracy") == "accuracy"
    with pytest.raises(UsageError) as caught:
        check_measures(["accuracy", "current:Mine"])
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "measure")
    assert caught.value.value == "accuracy, current:Mine"
