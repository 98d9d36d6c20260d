"""A name holds exactly what differs within a report from a contender's defaults, and no two contenders share one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capsbench.planning.contender_defaults import defaults_of
from capsbench.planning.matrix import cells_of
from capsbench.planning.options import list_options
from capsbench.planning.parts import choose_parts
from capsbench.planning.resolve import complete_cell
from capsbench.presenting.naming import TARGET, Names, no_defaults
from capsbench.presenting.words import TIMES
from capsbench.records.cell import Cell
from tests.making import make_capsules


def labels(*requests: dict[str, Any]) -> list[str]:
    cells = cells_of(*({"seeds": 0, "device": "cpu", **request} for request in requests))
    names = Names(cells, defaults_of)
    return [names.label(cell.contender) for cell in cells]


def test_defaults_that_differ_between_networks_are_no_choice() -> None:
    asked = {"routing": "dynamic,em,uniform,variational-bayes", "baseline": "matched,cnn-sabour2017,resnet"}
    assert labels({**asked, "size": "small"}) == [
        f"dynamic {TIMES}3",
        f"em {TIMES}2",
        f"uniform {TIMES}1",
        f"variational-bayes {TIMES}3",
        *("matched CNN to 149,712", "cnn-sabour2017", "resnet", "matched CNN to 66,795"),
    ]


def test_of_a_sweep_the_default_goes_without_saying_and_a_cnn_has_its_own_learning_rate() -> None:
    assert labels({"routing": "dynamic", "lr": "0.02,0.1"}) == [
        f"dynamic {TIMES}3",
        f"dynamic {TIMES}3, learning rate 0.1",
        "matched CNN",
        "matched CNN, learning rate 0.1",
    ]


def test_what_is_chosen_for_one_network_alone_is_named_and_what_all_have_is_not() -> None:
    requests = [{"routing": "em", "lr": 0.1, "epochs": 3}, {"routing": "dynamic", "epochs": 3}]
    assert labels(*({**request, "baseline": "none"} for request in requests)) == [
        f"em {TIMES}2, learning rate 0.1",
        f"dynamic {TIMES}3",
    ]


def test_an_option_of_one_network_is_named_where_its_contenders_differ_in_it() -> None:
    (em,) = cells_of({"routing": "em", "seeds": 0, "baseline": "none"})
    preset = em.options["routing.inverse_temperature"]  # of this size, rather than the class's default
    assert labels({"routing": "em,dynamic", "inverse_temperature": [preset, 0.5], "baseline": "none"}) == [
        f"em {TIMES}2",
        f"em {TIMES}2, inverse temperature 0.5",
        f"dynamic {TIMES}3",
    ]


def test_an_option_of_network_and_routing_is_told_once_where_they_agree_and_in_full_where_not() -> None:
    asked = {"routing": "dynamic", "baseline": "none"}
    assert labels({**asked, "squash": "sabour,unit"}) == [f"dynamic {TIMES}3", f"dynamic {TIMES}3, squash unit"]
    assert labels(asked, {**asked, "network.squash": "unit"}, {**asked, "routing.squash": "unit"}) == [
        f"dynamic {TIMES}3",
        f"dynamic {TIMES}3, network squash unit",
        f"dynamic {TIMES}3, routing squash unit",
    ]


def test_a_matched_cnn_says_its_size_where_several_stand_there() -> None:
    one, several = labels({"routing": "em"}), labels({"routing": "em", "stem": "32,64"})
    assert one[-1] == "matched CNN"
    assert several[-2:] == ["matched CNN to 10,873", "matched CNN to 13,296"]


def test_a_baseline_at_both_sizes_says_which() -> None:
    both = labels({"routing": "em", "baseline": "resnet", "baseline_size": "own,matched"})
    assert both[1:] == ["resnet", "resnet to 10,996"]


def test_a_title_says_what_differs_and_the_seed() -> None:
    cells = cells_of({"routing": "dynamic", "lr": "0.02,0.1", "seeds": "0,1", "baseline": "none"})
    assert sorted(Names(cells, defaults_of).titles(cells).values()) == [
        *(f"capsnet dynamic x3 tiny, digits, learning rate 0.1, seed {seed}" for seed in (0, 1)),
        *(f"capsnet dynamic x3 tiny, digits, seed {seed}" for seed in (0, 1)),
    ]


@pytest.mark.parametrize(
    "differing",
    [
        {"device": "cuda"},
        {"threads": 3},
        {"code": {"network": "aaaa"}},
        {"options": {"network.stem": 32}},  # one is of a version without the option
        {"learning_rate": 0.1, "epochs": 3},
        {"network": "other.module:MatrixCapsules"},
        {"learning_rate": 0.003 + 1e-12},
    ],
)
def test_without_known_defaults_all_that_differs_is_told(differing: dict[str, Any]) -> None:
    own = {"network": "my.module:MatrixCapsules"}
    names = Names([one := make_capsules(**own), other := make_capsules(**{**own, **differing})], no_defaults)
    assert names.label(one.contender) != names.label(other.contender)
    fields = {name for name in differing if name in Cell.model_fields and name not in ("options", "code", "network")}
    assert fields <= {*names.columns}


def test_parts_of_ones_own_have_their_short_names_unless_two_share_one() -> None:
    def kinds(*networks: str) -> list[str]:
        cells = [make_capsules(network=network) for network in networks]
        names = Names(cells)
        return [names.label(cell.contender) for cell in cells]

    assert kinds("my.module:Net", "matrix-capsules") == [f"Net em {TIMES}3", f"matrix-capsules em {TIMES}3"]
    assert kinds("my.module:Net", "other:Net") == [f"my.module:Net em {TIMES}3", f"other:Net em {TIMES}3"]


def test_nothing_has_no_names() -> None:
    assert Names([]).columns == []
    assert Names([]).titles([]) == {}


FIELDS: dict[str, list[Any]] = {
    "train_size": [None, 100],
    "iterations": [1, 3],
    "loss": ["margin", "cross-entropy"],
    "reconstruction": [True, False],
    "optimizer": ["adam", "sgd"],
    "learning_rate": [0.02, 0.1, 0.1 + 1e-9],
    "epochs": [3, 8],
    "batch_size": [64, 32],
    "threads": [1, 2],
    "backend": ["auto", "reference"],
}
OPTIONS: dict[str, list[Any]] = {
    "network.squash": ["sabour", "unit"],
    "routing.squash": ["sabour", "unit"],
    "routing.inverse_temperature": [0.01, 0.1],
    "network.transform_sigma": [0.1, 1.0],
    "network.stem": [32, 36],
    "network.parameters": [0, 10_738, 10_873],
}


def some_of(choices: dict[str, list[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in choices.items()})


NETWORKS = ["capsnet", "matrix-capsules", "matched", "resnet"]
CONTENDERS = st.lists(
    st.tuples(
        st.sampled_from(NETWORKS),
        st.sampled_from(["dynamic", "em"]),
        st.sampled_from(["tiny", "small"]),
        some_of(FIELDS),
        some_of(OPTIONS),
    ),
    min_size=1,
    max_size=12,
)


def planned(network: str, routing: str, size: str, fields: dict[str, Any], options: dict[str, Any]) -> Cell:
    """A cell as plans have it, with those of the fields and options that it can have."""
    point = {"dataset": "digits", "size": size, "seed": 0, "network": network, "routing": routing, "device": "cpu"}
    if network in ("matched", "resnet"):
        point["routing"] = None
        fields = {name: value for name, value in fields.items() if name not in ("loss", "reconstruction", "iterations")}
    point |= fields
    parts = choose_parts(point)
    known = {*list_options(parts), *(["network.parameters"] if network == "matched" else [])}
    cell = complete_cell(point, parts, {name: value for name, value in options.items() if name in known})
    return cell if network != "matched" else cell.model_copy(update={"options": {TARGET: 10_738, **cell.options}})


@given(contenders=CONTENDERS)
@settings(max_examples=40, deadline=None)
def test_no_two_contenders_share_a_name_and_nothing_is_named_that_was_not_chosen(contenders: list[Any]) -> None:
    cells = [planned(*contender) for contender in contenders]
    chosen = {name for *_, fields, options in contenders for name in (*fields, *options)}
    for defaults in (defaults_of, no_defaults):
        names, again = Names(cells, defaults), Names(reversed(cells), defaults)
        labels = [names.label(contender) for contender in names.cells]
        titles = [names.title(contender) for contender in names.cells]
        assert len({*labels}) == len({*titles}) == len(labels)
        assert labels == [again.label(contender) for contender in names.cells]
    told = {*Names(cells, defaults_of).columns}
    assert {name for name in told if not name.startswith("loss.")} <= chosen


def test_flags_of_yes_and_no_are_named_by_their_words() -> None:
    asked = {"routing": "dynamic", "shared_transforms": "yes,no", "reconstruction": "yes,no", "baseline": "none"}
    assert labels(asked) == [
        f"dynamic {TIMES}3, shared transforms yes",
        f"dynamic {TIMES}3",
        f"dynamic {TIMES}3, reconstruction no, shared transforms yes",
        f"dynamic {TIMES}3, reconstruction no",
    ]
