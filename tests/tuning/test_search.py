"""The settings of a search: drawn from names and numbers alone, within the spaces that are declared or that the user gives."""

from __future__ import annotations

import numpy as np
import pytest

from capsbench.errors import Kind, UsageError
from capsbench.planning.matrix import plan_cells
from capsbench.routing.em import EMRouting
from capsbench.stats.spaces import Choice, Range
from capsbench.tuning.contenders import list_contenders
from capsbench.tuning.learning import LearningSampler
from capsbench.tuning.search import Search, check_spaces_used, draw_setting, find_spaces, parse_spaces

SPACES = {"learning_rate": Range(0.001, 0.1), "batch_size": Choice((32, 64, 128))}


def plan(**request):
    return plan_cells({"routing": "em", "seeds": 0, "device": "cpu", **request})


def test_a_setting_follows_from_seed_contender_and_trial() -> None:
    assert draw_setting(SPACES, 0, "aaaaaaaaaaaa", 3) == draw_setting(SPACES, 0, "aaaaaaaaaaaa", 3)
    others = [
        draw_setting(SPACES, seed, contender, trial)["learning_rate"]
        for seed, contender, trial in [
            (0, "aaaaaaaaaaaa", 3),
            (1, "aaaaaaaaaaaa", 3),
            (0, "bbbbbbbbbbbb", 3),
            (0, "aaaaaaaaaaaa", 4),
        ]
    ]
    assert len(set(others)) == 4


def test_another_space_for_one_name_leaves_the_values_of_the_others() -> None:
    wider = {**SPACES, "batch_size": Choice((16, 32, 64, 128))}
    for trial in range(10):
        assert (
            draw_setting(wider, 0, "a", trial)["learning_rate"] == draw_setting(SPACES, 0, "a", trial)["learning_rate"]
        )


def test_settings_are_uniform_and_independent() -> None:
    settings = [draw_setting(SPACES, 0, "a", trial) for trial in range(4000)]
    exponents = np.log10([setting["learning_rate"] for setting in settings])
    assert np.histogram(exponents, bins=4, range=(-3, -1))[0] == pytest.approx([1000] * 4, abs=110)
    batches = np.array([setting["batch_size"] for setting in settings])
    assert [np.sum(batches == size) for size in (32, 64, 128)] == pytest.approx([1333] * 3, abs=120)
    assert abs(np.corrcoef(exponents, batches)[0, 1]) < 0.05


def test_the_spaces_are_those_of_fields_routing_and_loss() -> None:
    capsules, cnn = plan()
    of_training = {"learning_rate", "schedule", "weight_decay", "batch_size"}
    assert find_spaces(cnn, {}).keys() == of_training
    own = {"routing.inverse_temperature", "routing.annealing", "loss.growth"}
    assert find_spaces(capsules, {}).keys() == of_training | own


def test_the_weight_of_the_reconstruction_is_tuned_where_there_is_one() -> None:
    (capsnet,) = plan(routing="dynamic", baseline="none")
    assert capsnet.cell.reconstruction
    assert "reconstruction_weight" in find_spaces(capsnet, {})
    (without,) = plan(routing="dynamic", baseline="none", reconstruction="no")
    assert "reconstruction_weight" not in find_spaces(without, {})


def test_what_the_request_names_is_not_tuned() -> None:
    for planned in plan(lr=0.01, annealing=0.1, growth="sigmoid"):
        assert not {"learning_rate", "routing.annealing", "loss.growth"} & find_spaces(planned, {}).keys()


def test_a_user_space_replaces_the_declared_one_and_opens_a_named_one() -> None:
    capsules, cnn = plan(lr=0.01)
    overrides = parse_spaces(["lr=0.001..0.3", "batch-size=8,16", "annealing=0.5..1"])
    spaces = find_spaces(capsules, overrides)
    assert spaces["learning_rate"] == Range(0.001, 0.3)
    assert spaces["batch_size"] == Choice((8, 16))
    assert spaces["routing.annealing"] == Range(0.5, 1.0)
    assert "routing.annealing" not in find_spaces(cnn, overrides)  # which has no such option


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_name_of_several_options_gives_them_one_value_as_a_flag_does(sampler) -> None:
    def list_squashes(*texts: str) -> set[tuple[object, object]]:
        planned = plan(routing="dynamic", baseline="none")
        (contender,) = list_contenders(planned, Search(11, 1, 0, sampler, parse_spaces(texts)))
        if sampler == "random":
            trials = [contender.draw_trial(number) for number in range(11)]
        else:
            learning = LearningSampler(contender, 0)
            trials = []
            for number in range(11):
                trials.append(learning.suggest())
                learning.observe(number / 11)
        (spaces,) = {tuple(sorted(trial.tuning.space.items())) for trial in trials}
        assert dict(spaces)["network.squash"] == "sabour,unit"
        return {(trial.cell.options["network.squash"], trial.cell.options["routing.squash"]) for trial in trials}

    assert list_squashes("squash=sabour,unit") == {("sabour", "sabour"), ("unit", "unit")}
    assert len(list_squashes("network.squash=sabour,unit", "routing.squash=sabour,unit")) > 2
    assert list_squashes("network.squash=sabour,unit") == {("sabour", "sabour"), ("unit", "sabour")}


def test_values_of_a_user_get_the_type_of_their_option() -> None:
    (capsnet,) = plan(routing="dynamic", baseline="none")
    spaces = find_spaces(capsnet, parse_spaces(["leaky=yes,no", "squash=sabour,unit"]))
    assert spaces["routing.leaky"] == Choice((True, False))
    assert spaces["routing.squash"] == Choice(("sabour", "unit"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("learning_rate=a,b", "learning_rate"),
        ("schedule=cosine", "cosine"),
        ("batch_size=1..64", "batch_size"),  # a range would draw fractions
        ("leaky=perhaps", "leaky"),
        ("kernel=-5,9", "kernel"),
        ("learning_rate=0.01,0.010", "0.01,0.01"),
    ],
)
def test_values_of_another_type_are_refused(text, value) -> None:
    (capsnet,) = plan(routing="dynamic", baseline="none")
    with pytest.raises(UsageError) as caught:
        find_spaces(capsnet, parse_spaces([text]))
    assert (caught.value.kind, caught.value.flag) == (Kind.INVALID, "space")


@pytest.mark.parametrize("text", ["learning_rate", "=1,2", "lr=", "lr=0.1..0.01", "lr=-1..1"])
def test_other_texts_are_no_spaces(text) -> None:
    with pytest.raises(UsageError) as caught:
        parse_spaces([text])
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "space", text)


def test_a_space_is_given_once() -> None:
    with pytest.raises(UsageError) as caught:
        parse_spaces(["batch-size=1,2", "batch_size=3,4"])
    assert caught.value.kind is Kind.CONFLICT


def test_a_space_of_no_contender_is_refused() -> None:
    capsules, cnn = plan()
    search = Search(spaces=parse_spaces(["learning=0.1..1"]))
    with pytest.raises(UsageError) as caught:
        check_spaces_used(search, [find_spaces(capsules, {})], [capsules.cell, cnn.cell])
    assert (caught.value.kind, caught.value.value) == (Kind.UNKNOWN, "learning")
    assert "learning_rate" in caught.value.expected


@pytest.mark.parametrize(
    "name",
    ["dataset", "train_size", "size", "seeds", "routing", "network", "loss", "device", "code", "options", "weights"],
)
def test_a_search_changes_neither_task_nor_machine_nor_contender(name) -> None:
    capsules, _ = plan()
    with pytest.raises(UsageError) as caught:
        find_spaces(capsules, parse_spaces([f"{name}=1,2"]))
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "space", name)


def test_a_matched_cnn_keeps_its_size() -> None:
    _, cnn = plan()
    with pytest.raises(UsageError) as caught:
        find_spaces(cnn, parse_spaces(["parameters=1000,2000"]))
    assert caught.value.value == "parameters"


def test_a_cnn_has_no_iterations_to_tune() -> None:
    capsules, cnn = plan()
    overrides = parse_spaces(["iters=1,2"])
    assert find_spaces(capsules, overrides)["iterations"] == Choice((1, 2))
    assert "iterations" not in find_spaces(cnn, overrides)


@pytest.mark.parametrize(
    "spaces",
    [
        ["annealing"],
        {"annealing": (0.1, 1.0)},
        {"temperature": Range(0.1, 1.0)},
        {"dataset": Choice(("digits", "mnist"))},
    ],
)
def test_a_class_that_declares_no_spaces_of_its_settings_is_refused(spaces, monkeypatch) -> None:
    capsules, _ = plan()
    monkeypatch.setattr(EMRouting, "spaces", spaces)
    with pytest.raises(UsageError) as caught:
        find_spaces(capsules, {})
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "routing", "em")


def test_two_names_of_one_setting_are_refused() -> None:
    capsules, _ = plan()
    with pytest.raises(UsageError) as caught:
        find_spaces(capsules, parse_spaces(["lr=0.1..1", "learning_rate=0.01..0.1"]))
    assert caught.value.kind is Kind.CONFLICT


@pytest.mark.parametrize(
    ("fields", "flag"),
    [
        ({"trials": 0}, "trials"),
        ({"trials": 20_000}, "trials"),
        ({"trials": 20, "studies": 3}, "studies"),
        ({"trials": 3, "studies": 4}, "studies"),
        ({"studies": 0}, "studies"),
        ({"seed": -1}, "study_seed"),
        ({"sampler": "grid"}, "sampler"),
        ({"sampler": "tpe"}, "sampler"),  # studies of 5 trials end before it learns
        ({"sampler": "tpe", "trials": 40}, "sampler"),
    ],
)
def test_a_search_that_cannot_be_is_refused(fields, flag) -> None:
    with pytest.raises(UsageError) as caught:
        Search(**fields)
    assert caught.value.flag == flag
