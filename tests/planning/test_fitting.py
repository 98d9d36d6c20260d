"""``all`` takes what fits and says what it leaves out; what is given by name and fits nowhere is refused."""

import pytest

from capsbench import api, registry
from capsbench.errors import Kind, UsageError
from capsbench.planning.matrix import plan_cells

EXCLUSIVE = {"self-routing", "inverted-attention"}


def plan(**request):
    remarks = []
    planned = plan_cells({"seeds": "0,1", "baseline": "none", **request}, remarks=remarks)
    return [job.cell for job in planned], remarks


def test_all_routings_are_those_that_fit_the_images(scattered):
    cells, (remark,) = plan(dataset=scattered, routing="all")
    routings = {cell.routing for cell in cells}
    assert "dynamic" in routings
    assert not routings & EXCLUSIVE
    assert all(name in remark for name in EXCLUSIVE)


def test_a_routing_that_fits_one_of_the_data_sets_is_left_out_of_the_other(scattered):
    cells, remarks = plan(dataset=f"{scattered},digits", routing="all")
    assert {cell.dataset for cell in cells if cell.routing in EXCLUSIVE} == {"digits"}
    assert len(remarks) == 1


def test_all_networks_are_those_that_have_the_measure_and_the_loss():
    _, (remark,) = plan(network="all", measure="accuracy")
    assert "transforming-autoencoder" in remark
    cells, (remark,) = plan(network="all", loss="margin")
    assert {cell.loss for cell in cells} == {"margin"}
    assert "conditional-autoencoder" in remark


def test_all_baselines_are_those_that_can_be_sized(monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN["baseline"], "unsized", "tests.planning.test_fitting:make_unsized")
    cells, (remark,) = plan(routing="dynamic", baseline="all", baseline_size="matched")
    networks = {cell.network for cell in cells}
    assert "resnet" in networks
    assert "unsized" not in networks
    assert "unsized" in remark


def make_unsized(num_classes):
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))


def test_a_run_says_what_all_leaves_out():
    planned = api.plan(network="all", measure="accuracy", seeds=0, baseline="none")
    assert any("transforming-autoencoder" in remark for remark in planned.remarks)


def test_all_that_fit_leave_no_remark():
    assert plan(routing="all")[1] == []


@pytest.mark.parametrize(
    ("request_", "kind", "flag"),
    [
        ({"routing": "all", "loss": "sigmoid,spread"}, Kind.CONFLICT, "loss"),
        ({"routing": "all", "balanced": "yes"}, Kind.CONFLICT, "balanced"),
        ({"routing": "dynamic,self-routing"}, Kind.CONFLICT, "routing"),
        ({"routing": "all", "shift": 100}, Kind.INVALID, "shift"),
        ({"routing": "all", "squash": "sabour,none"}, Kind.INVALID, "squash"),
        # An option only of a routing that is left out would be ignored.
        ({"routing": "all", "network": "capsnet", "no_such": 1}, Kind.UNKNOWN, "no_such"),
    ],
)
def test_a_value_given_by_name_that_fits_nowhere_is_refused_beside_all(scattered, request_, kind, flag):
    with pytest.raises(UsageError) as caught:
        plan(dataset=scattered, **request_)
    assert (caught.value.kind, caught.value.flag) == (kind, flag)
