"""The contenders of a challenge: one routing or network, and its rivals."""

from __future__ import annotations

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.planning.matrix import plan_cells
from capsbench.tuning.challenge import make_request


def test_a_routing_meets_its_rivals_in_its_own_network():
    request = make_request("em", ["dynamic", "uniform"], {})
    assert request == {"routing": ["em", "dynamic", "uniform"], "network": "matrix-capsules"}
    cells = plan_cells({**request, "seeds": 0, "device": "cpu"})
    assert {job.cell.network for job in cells} == {"matrix-capsules", "matched"}


def test_the_usual_rivals_are_the_two_papers():
    assert make_request("self-attention", None, {})["routing"] == ["self-attention", "dynamic", "em"]
    assert make_request("em", None, {})["routing"] == ["em", "dynamic"]  # not against itself


def test_another_network_may_be_named():
    assert make_request("em", "dynamic", {"network": "capsnet"}) == {"routing": ["em", "dynamic"]}


@pytest.mark.parametrize(("name", "against", "networks"), [
    ("efficient-capsnet", None, ["efficient-capsnet"]),
    ("resnet", "all-conv,efficient-capsnet", ["resnet", "all-conv", "efficient-capsnet"]),
])  # fmt: skip
def test_a_network_meets_networks(name, against, networks):
    assert make_request(name, against, {}) == {"network": networks}


@pytest.mark.parametrize(("name", "rival"), [("em", "capsnet"), ("capsnet", "em"), ("em", "dynamo"), ("resnet", "")])
def test_a_rival_is_of_the_same_kind(name, rival):
    with pytest.raises(UsageError) as caught:
        make_request(name, ["dynamic" if name == "em" else "all-conv", rival], {})
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.UNKNOWN, "against", rival)


@pytest.mark.parametrize("name", ["em", "capsnet"])
def test_nothing_challenges_itself_alone(name):
    with pytest.raises(UsageError) as caught:
        make_request(name, name, {})
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "against", name)


@pytest.mark.parametrize(
    ("name", "how", "kind", "flag"),
    [
        ("dynamo", {}, Kind.UNKNOWN, "CONTENDER"),
        ("no_such_module:Routing", {}, Kind.MISSING, "CONTENDER"),
        ("json:JSONEncoder", {}, Kind.INVALID, "CONTENDER"),
        ("em", {"routing": "dynamic"}, Kind.CONFLICT, "routing"),
        ("em", {"iters": "1,2"}, Kind.CONFLICT, "iters"),
        ("resnet", {"network": "capsnet"}, Kind.CONFLICT, "network"),
    ],
)
def test_what_is_no_contender_is_refused(name, how, kind, flag):
    with pytest.raises(UsageError) as caught:
        make_request(name, None, how)
    assert (caught.value.kind, caught.value.flag) == (kind, flag)
