from collections.abc import Callable
from typing import Any

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.planning import refusals
from capsbench.planning.refusals import REFUSALS
from capsbench.records.cell import Cell
from capsbench.records.parts import Parts

CNN: dict[str, Any] = {"network": "resnet", "routing": None, "loss": "cross-entropy"}
SELF_SUPERVISED: dict[str, Any] = {"network": "transforming-autoencoder", "routing": None, "loss": None}
STANDARDISED: dict[str, Any] = {"dataset": "smallnorb"}

ANY_NUMBER: dict[str, Any] = {"dataset": "scattered"}

pytestmark = pytest.mark.usefixtures("scattered")

REFUSED = [
    (refusals.refuse_large_shift, {}, {"shift": 8}, Kind.INVALID, "shift", 8),
    (refusals.refuse_no_epochs, {}, {"epochs": 0}, Kind.INVALID, "epochs", 0),
    (refusals.refuse_stop_without_accuracy, SELF_SUPERVISED, {"stop_at": 0.5}, Kind.CONFLICT, "stop_at", 0.5),
    (refusals.refuse_second_objective, SELF_SUPERVISED, {"loss": "margin"}, Kind.CONFLICT, "loss", "margin"),
    (
        refusals.refuse_standardised_reconstruction, STANDARDISED, {"reconstruction": True},
        Kind.CONFLICT, "reconstruction", True,
    ),
    (refusals.refuse_backbone, SELF_SUPERVISED, {"backbone": "timm:x"}, Kind.CONFLICT, "backbone", "timm:x"),
    (refusals.refuse_backbone, {}, {"freeze_backbone": True}, Kind.CONFLICT, "freeze_backbone", True),
    (refusals.refuse_missing_decoder, CNN, {"reconstruction": True}, Kind.CONFLICT, "reconstruction", True),
    (refusals.refuse_missing_decoder, SELF_SUPERVISED, {"reconstruction": True}, Kind.CONFLICT, "reconstruction", True),
    (refusals.refuse_loss_of_activations, CNN, {"loss": "margin"}, Kind.CONFLICT, "loss", "margin"),
    (refusals.refuse_loss_of_activations, CNN, {"loss": "spread"}, Kind.CONFLICT, "loss", "spread"),
    (
        refusals.refuse_balance_of_several_labels, {"dataset": "multimnist"}, {"balanced": True},
        Kind.CONFLICT, "balanced", True,
    ),
    (refusals.refuse_balance_of_several_labels, SELF_SUPERVISED, {"balanced": True}, Kind.CONFLICT, "balanced", True),
    (refusals.refuse_balance_of_several_labels, ANY_NUMBER, {"balanced": True}, Kind.CONFLICT, "balanced", True),
    (refusals.refuse_loss_of_one_class, ANY_NUMBER | {"loss": "spread"}, {}, Kind.CONFLICT, "loss", "spread"),
    (refusals.refuse_loss_of_one_class, ANY_NUMBER | CNN, {}, Kind.CONFLICT, "loss", "cross-entropy"),
    (
        refusals.refuse_exclusive_routing, ANY_NUMBER | {"routing": "self-routing"}, {},
        Kind.CONFLICT, "routing", "self-routing",
    ),
    (refusals.refuse_graphs_on_cpu, {}, {"compile": "cuda-graphs"}, Kind.CONFLICT, "compile", "cuda-graphs"),
    (refusals.refuse_missing_backend, {}, {"backend": "triton"}, Kind.MISSING, "backend", "triton"),
]  # fmt: skip

ALLOWED = [
    (refusals.refuse_large_shift, {}, {"shift": 7}),
    (refusals.refuse_no_epochs, {}, {"epochs": 1}),
    (refusals.refuse_no_epochs, {}, {"epochs": 0, "weights": "0123456789ab"}),
    (refusals.refuse_stop_without_accuracy, {}, {"stop_at": 0.5}),
    (refusals.refuse_stop_without_accuracy, SELF_SUPERVISED, {"stop_at": 0.0}),
    (refusals.refuse_second_objective, {}, {"loss": "margin"}),
    (refusals.refuse_standardised_reconstruction, {}, {"reconstruction": True}),
    (refusals.refuse_missing_decoder, {}, {"reconstruction": True}),
    (refusals.refuse_backbone, {}, {"backbone": "timm:x", "freeze_backbone": True}),
    (refusals.refuse_loss_of_activations, {}, {"loss": "spread"}),
    (refusals.refuse_balance_of_several_labels, {}, {"balanced": True}),
    (refusals.refuse_balance_of_several_labels, {"dataset": "multimnist"}, {}),
    (refusals.refuse_loss_of_one_class, ANY_NUMBER | {"loss": "margin"}, {}),
    (refusals.refuse_loss_of_one_class, ANY_NUMBER | CNN | {"loss": "sigmoid"}, {}),
    (refusals.refuse_loss_of_one_class, ANY_NUMBER | SELF_SUPERVISED, {}),
    (refusals.refuse_loss_of_one_class, {"dataset": "multimnist", "loss": "spread"}, {}),
    (refusals.refuse_exclusive_routing, ANY_NUMBER | CNN, {}),
    (refusals.refuse_exclusive_routing, ANY_NUMBER, {}),
    (refusals.refuse_exclusive_routing, {"routing": "self-routing"}, {}),
    (refusals.refuse_graphs_on_cpu, {}, {"compile": "cuda-graphs", "device": "cuda"}),
    (refusals.refuse_graphs_on_cpu, {}, {"compile": "default"}),
    (refusals.refuse_missing_backend, CNN, {"backend": "triton"}),
    (refusals.refuse_missing_backend, {}, {"backend": "reference"}),
]


def make_fields(
    make_cell: Callable[..., Cell], named: dict[str, Any], changed: dict[str, Any]
) -> tuple[Parts, dict[str, Any]]:
    """The parts of a cell, some of them by name, and its fields, some of them changed."""
    fields = {**make_cell().model_dump(exclude={"options", "code"}), **named}
    return Parts.from_names(*(fields[name] for name in ("dataset", "network", "routing", "loss"))), {
        **fields,
        **changed,
    }


@pytest.mark.parametrize(("refuse", "named", "changed", "kind", "flag", "value"), REFUSED)
def test_each_refuses_one_thing(make_cell, refuse, named, changed, kind, flag, value):
    with pytest.raises(UsageError) as caught:
        refuse(*make_fields(make_cell, named, changed))
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (kind, flag, value)


@pytest.mark.parametrize(("network", "names_base"), [("resnet", False), ("my_module:MyNetwork", True)])
def test_the_base_class_of_capsule_networks_is_named_for_an_own_network(make_cell, network, names_base):
    parts, fields = make_fields(make_cell, {**CNN, "network": network}, {"loss": "margin"})
    with pytest.raises(UsageError) as caught:
        refusals.refuse_loss_of_activations(parts, fields)
    assert ("capsbench.networks.base.CapsuleNetwork" in str(caught.value.expected)) is names_base


@pytest.mark.parametrize(("refuse", "named", "changed"), ALLOWED)
def test_what_is_possible_is_not_refused(make_cell, refuse, named, changed):
    refuse(*make_fields(make_cell, named, changed))


def test_all_are_asked_and_a_cell_that_fits_passes_them(make_cell):
    assert {*REFUSALS} == {refuse for refuse, *_ in REFUSED} == {refuse for refuse, *_ in ALLOWED}
    for named in ({}, CNN, SELF_SUPERVISED):
        parts, fields = make_fields(make_cell, named, {"reconstruction": False})
        for refuse in REFUSALS:
            refuse(parts, fields)
