"""The fields of a Cell: what later ones are by default, bounds, and names of options."""

import pytest
from pydantic import ValidationError

from capsbench.records.cell import Cell, asked_fields, digest_fields, short_name
from tests.making import CAPSULES, make_capsules


def test_later_fields_are_by_default_what_the_code_did_before():
    cell = make_capsules()
    later = {name: getattr(cell, name) for name in Cell.model_fields if name not in CAPSULES}
    assert later == {
        "warp": "none",
        "decay_steps": 0,
        "stop_at": 0.0,
        "balanced": False,
        "weights": "none",
        "backbone": "none",
        "freeze_backbone": False,
        "channels_last": False,
        "fused_optimizer": False,
        "compile": "none",
    }
    assert cell.id == digest_fields({**CAPSULES})
    assert make_capsules(stop_at=0.5).id == digest_fields({**CAPSULES, "stop_at": 0.5})
    assert cell.contender == digest_fields({**CAPSULES, "seed": 0})


@pytest.mark.parametrize(
    ("field", "least", "most"),
    [
        ("threads", 1, 1024),
        ("stop_at", 0, 1),
        ("decay", None, 1),
        ("epochs", 1, None),
        ("patience", 0, None),
        ("seed", 0, None),
    ],
)
def test_fields_have_bounds(field, least, most):
    for bound, beyond in ((least, -1), (most, 1)):
        if bound is not None:
            assert getattr(make_capsules(**{field: bound}), field) == bound
            with pytest.raises(ValidationError):
                make_capsules(**{field: bound + beyond})


def test_options_are_named_by_their_component():
    cell = make_capsules(options={"network.stem": 32, "routing.epsilon": 0.01})
    assert cell.component_options("network") == {"stem": 32}
    assert cell.component_options("routing") == {"epsilon": 0.01}
    assert cell.component_options("loss") == {}
    assert short_name("routing.epsilon") == "epsilon"
    assert short_name("network.a.b") == "a.b"


def test_a_cell_of_a_cnn_has_no_routing():
    assert make_capsules().has_routing is True
    assert make_capsules(routing=None, iterations=None).has_routing is False


def test_a_title_has_a_target_that_is_a_whole_number():
    assert "to 28,000" in make_capsules(routing=None, options={"network.parameters": 28_000}).title
    assert " to " not in make_capsules(routing=None, options={"network.parameters": "many"}).title


def test_users_set_every_field_but_the_options_and_the_source():
    fields = asked_fields()
    assert fields["iters"] == "iterations"
    assert fields["lr"] == "learning_rate"
    assert {*Cell.model_fields} - {*fields.values()} == {"options", "code"}
