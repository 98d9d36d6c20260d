"""What a contender has where nothing is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from capsbench.planning.contender_defaults import defaults_from, defaults_of
from capsbench.planning.matrix import cells_of
from capsbench.records.cell import IMAGES, describe_cell
from tests.making import make_capsules, make_record


@pytest.mark.parametrize(
    "request_",
    [
        {"routing": "dynamic,em,uniform"},
        {"routing": "dynamic", "size": "small"},
        {"routing": "em", "dataset": "mnist", "size": "paper", "baseline": "none"},
        {"routing": "self-routing", "network": "capsnet"},
        {"routing": "em", "loss": "margin"},
        {"network": "transforming-autoencoder", "dataset": "mnist"},
        {"routing": "dynamic", "baseline": "resnet,cnn-sabour2017"},
    ],
)
def test_a_cell_of_which_nothing_was_asked_has_its_defaults(request_: dict[str, str]) -> None:
    for cell in cells_of({"seeds": 0, "device": "cpu", **request_}):
        known = defaults_of(cell)
        chosen = {"dataset", "size", "network", "routing", "cell", *request_}
        described = {name: value for name, value in describe_cell(cell).items() if name not in chosen}
        assert {name: known[name] for name in described if name in known} == {
            name: value for name, value in described.items() if name in known
        }
        assert {*described} - {*known} <= {"device", "threads", "network.parameters"}


def test_options_of_another_loss_are_its_own() -> None:
    (cell,) = cells_of({"routing": "em", "loss": "margin", "seeds": 0, "baseline": "none"})
    known = defaults_of(cell)
    assert known["loss"] == "spread"
    assert {name for name in cell.options if name.startswith("loss.")} <= {*known}


def test_a_network_goes_with_its_own_routing_and_a_routing_with_its_own_network() -> None:
    (cell,) = cells_of({"routing": "em", "network": "capsnet", "seeds": 0, "baseline": "none"})
    known = defaults_of(cell)
    assert (known["routing"], known["network"]) == ("dynamic", "matrix-capsules")


def test_nothing_is_known_of_what_is_not_here() -> None:
    assert defaults_of(make_capsules(network="not_here.at_all:Network")) == {}


@pytest.mark.parametrize("shape", ["1x8x8", "3x64x64"])
def test_a_record_says_enough_of_images_that_are_not_here(shape: str) -> None:
    cell = make_capsules(dataset="folder:not_here", options={"dataset.resize": "none"})
    sources = {IMAGES: {"shape": shape, "0": "bar", "1": "ring"}}
    record = make_record(cell)
    assert record.training is not None
    described = replace(record, training=replace(record.training, sources=sources))
    assert defaults_of(cell) == {}
    known = defaults_from([described])(cell.model_copy(update={"seed": 1}))  # one seed may have failed
    assert (known["backbone"], known.get("network.reductions", 0)) == ("none", 1 if shape == "3x64x64" else 0)
    assert known["dataset.resize"] == "none"
    assert defaults_from([record])(cell) == {}
