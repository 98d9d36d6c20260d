"""What a lease tells, which may come from anyone."""

from dataclasses import asdict

import pytest

from capsbench.records.sharing.activity import Activity


def test_an_activity_is_read_as_it_was_told():
    activity = Activity("em x3", "training", 0.5, 2, 4, 0.25, "accuracy 50.0%", 12.5)
    assert Activity.from_facts(asdict(activity)) == activity
    assert Activity.from_facts({}) == Activity()


@pytest.mark.parametrize(
    "facts",
    [
        {"title": 5},
        {"title": "x" * 2000},
        {"done": 1.5},
        {"done": -0.5},
        {"epoch": -1},
        {"epoch": 10**30},
        {"loss": float("nan")},
        {"seconds_left": float("inf")},
        {"seconds_left": -1.0},
        {5: "x"},
    ],
    ids=str,
)
def test_one_of_another_form_tells_nothing(facts):
    assert Activity.from_facts({"doing": "training", **facts}) in (Activity(), Activity(doing="training"))
    if 5 not in facts:
        assert Activity.from_facts({"doing": "training", **facts}) == Activity()
