import pytest

from capsbench.networks.build import parameter_count
from capsbench.planning.matrix import cells_of
from capsbench_baselines.sizing import shared_targets


def test_the_matched_baseline_has_the_size_and_the_budget_of_its_network():
    capsules, baseline = cells_of({"routing": "dynamic", "iters": 1, "seeds": 3, "epochs": 7, "batch": 32})
    assert abs(parameter_count(baseline) / parameter_count(capsules) - 1) < 0.02
    shared = ("dataset", "train_size", "size", "epochs", "batch_size", "optimizer", "schedule", "shift", "seed")
    assert all(getattr(baseline, field) == getattr(capsules, field) for field in shared)
    assert (baseline.loss, baseline.reconstruction) == ("cross-entropy", False)


@pytest.mark.parametrize("baseline", ["resnet", "all-conv", "avgpool-gu2021", "cnn-sabour2017", "cnn-hinton2018"])
def test_any_baseline_can_have_the_size_of_the_network_it_stands_beside(baseline):
    asked = {"routing": "dynamic", "seeds": 0, "baseline": baseline}
    capsules, own = cells_of(asked)
    same, matched = cells_of({**asked, "baseline_size": "matched"})
    assert (same, own.options["network.parameters"]) == (capsules, 0)
    assert abs(parameter_count(own) / parameter_count(capsules) - 1) > 0.02
    assert abs(parameter_count(matched) / parameter_count(capsules) - 1) < 0.02
    target = matched.options["network.parameters"]
    assert matched.options == {**own.options, "network.parameters": target}
    assert target in shared_targets(parameter_count(capsules))
    assert (own.title, matched.title) == (
        f"{baseline} tiny, digits, seed 0",
        f"{baseline} to {target:,} tiny, digits, seed 0",
    )


def test_networks_of_almost_one_size_share_a_matched_cnn_whatever_else_is_asked_for():
    routings = ["dynamic", "uniform", "self-attention"]
    together = cells_of({"routing": routings, "network": "capsnet", "seeds": 0})
    alone = {
        routing: cells_of({"routing": routing, "network": "capsnet", "seeds": 0})[1].options["network.parameters"]
        for routing in routings
    }
    sizes = {parameter_count(cell) for cell in together if cell.has_routing}
    assert len(sizes) > 1
    assert max(sizes) - min(sizes) < 400
    assert [cell.options["network.parameters"] for cell in together if not cell.has_routing] == [alone["dynamic"]]
    assert set(alone.values()) == {alone["dynamic"]}


def test_all_routings_of_a_network_share_the_cnn_of_its_own_routing_where_that_is_within_2_percent():
    routings = ["em", "variational-bayes", "inverted-attention", "dynamic", "self-routing"]
    asked = {"network": "matrix-capsules", "seeds": 0}
    pairs = {routing: cells_of({**asked, "routing": routing}) for routing in routings}
    counts = {routing: parameter_count(cell) for routing, (cell, _) in pairs.items()}
    targets = {routing: cnn.options["network.parameters"] for routing, (_, cnn) in pairs.items()}
    assert len(set(counts.values())) == len(routings)
    assert counts["self-routing"] > 1.5 * counts["em"]
    assert {routing for routing in routings if targets[routing] == targets["em"]} == {*routings} - {"self-routing"}


def test_a_matched_cnn_is_within_2_percent_of_every_network_that_it_stands_beside():
    for stem in range(8, 80, 3):
        capsules, cnn = cells_of({"routing": "em", "network.stem": stem, "seeds": 0})
        assert abs(parameter_count(cnn) / parameter_count(capsules) - 1) <= 0.02


def test_both_sizes_of_a_baseline_and_matched_once():
    cells = cells_of({"routing": "em", "seeds": 0, "baseline": "matched,resnet", "baseline-size": "own,matched"})
    assert [cell.network for cell in cells] == ["matrix-capsules", "matched", "resnet", "resnet"]
