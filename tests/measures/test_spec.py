"""What a measure may declare of its numbers."""

import pytest
from pydantic import TypeAdapter, ValidationError

from capsbench.errors import ArgumentError
from capsbench.measures import Contest, Judged, MeasureSpec, Metric
from capsbench.measures.spec import built_in_specs, metrics_beyond_shares


@pytest.mark.parametrize(
    ("fields", "argument"),
    [
        (dict(contests=(Contest("c"),)), "higher_is_better"),
        (dict(judged=(Judged("j"),)), "higher_is_better"),
        (dict(judged=(Judged("j"),), higher_is_better=True, unit="ms"), "judged"),
    ],
)
def test_a_compared_number_has_a_direction_and_one_in_points_is_a_share(fields, argument):
    with pytest.raises(ArgumentError) as caught:
        Metric(**{"name": "m", "unit": "fraction", **fields})
    assert caught.value.argument == argument


def test_a_number_without_direction_may_be_exact_timed_or_a_check():
    rules = [Judged(rule, rule=rule) for rule in ("exact", "time", "check")]
    assert Metric("m", "ms", judged=(*rules, Judged("relative", relative=True)), higher_is_better=False).judged[:3] == (
        *rules,
    )
    assert Metric("m", "ms", judged=tuple(rules)).higher_is_better is None


@pytest.mark.parametrize(
    ("metrics", "argument"),
    [
        ([Metric("a", "u"), Metric("a", "u")], "metrics"),
        ([Metric(name, "u", True, contests=(Contest("c"),)) for name in "ab"], "contests"),
        ([Metric(name, "u", judged=(Judged("j", rule="exact"),)) for name in "ab"], "judged"),
    ],
)
def test_names_are_given_once(metrics, argument):
    with pytest.raises(ArgumentError) as caught:
        MeasureSpec("mine", tuple(metrics))
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: MeasureSpec("mine", metrics=Metric("m", "u")), "metrics"),  # without the comma of a tuple of one
        (lambda: MeasureSpec("mine", metrics=("m",)), "metrics"),
        (lambda: Metric("m", "u", True, contests=Contest("c")), "contests"),
        (lambda: Metric("m", "fraction", True, judged=Judged("j")), "judged"),
    ],
)
def test_parts_of_a_declaration_are_a_tuple(make, argument):
    with pytest.raises(ArgumentError) as caught:
        make()
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("contests", "compared", "count"), [(0, None, 1), (1, None, 1), (3, None, 3), (3, 0, 0), (0, 2, 2)]
)
def test_contenders_are_compared_by_contests_unless_another_count_is_declared(contests, compared, count):
    metric = Metric("m", "u", True, contests=tuple(Contest(str(number)) for number in range(contests)))
    assert MeasureSpec("mine", (metric,), compared=compared).count_compared == count


def test_numbers_are_found_by_their_rule():
    exact, mean = Judged("e", rule="exact"), Judged("m")
    first = Metric("first", "fraction", True, judged=(mean, exact))
    spec = MeasureSpec("mine", (first, Metric("second", "u")))
    assert list(spec.find_judged("exact")) == [(first, exact)]
    assert list(spec.find_judged("mean")) == [(first, mean)]
    assert list(spec.find_judged("time")) == list(spec.find_contests()) == []


def test_what_is_compared_and_taken_by_default_is_what_the_protocol_says():
    specs = built_in_specs()
    counts = {name: spec.count_compared for name, spec in specs.items() if spec.count_compared != 1}
    assert counts == {"cost": 0, "speed": 0, "parts": 0, "adversarial": 2}
    others = {name for name, spec in specs.items() if not spec.by_default}
    assert others == {"transfer", "routing-robustness", "detection", "ood", "corruption", "parts", "few-shot"}
    assert metrics_beyond_shares() == {
        ("equivariance", "R^2"),
        ("transformation", "R^2"),
        ("transformation", "presence"),
    }
    assert {metric.name for metric in specs["speed"].metrics if metric.repeatable} == set()
    repeatable = [metric.repeatable for name, spec in specs.items() if name != "speed" for metric in spec.metrics]
    assert all(repeatable)


@pytest.mark.parametrize("floor", [1e30, -1e30, 0.0, None])
def test_a_floor_is_as_large_as_a_number_of_a_record(floor):
    assert TypeAdapter(Judged).validate_python({"title": "j", "floor": floor}) == Judged("j", floor=floor)


@pytest.mark.parametrize("floor", [1.01e30, -1.01e30, 1e308])
def test_a_floor_whose_sums_may_overflow_is_refused(floor):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Judged).validate_python({"title": "j", "floor": floor})
    (fault,) = caught.value.errors()
    assert (fault["loc"], fault["input"]) == (("floor",), floor)
