"""The diagnosis of routings: closed forms, loops over children and parents, and real networks."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from capsbench.measures.parts.effort import DEAD_BELOW, IMAGES
from capsbench.measures.parts.measure import Diagnosis, Parts, compute_numerical_rank, count_effective
from capsbench.networks.build import build_network
from capsbench.networks.observation import ObservedLayer, compute_singular_values, observe_routings

CHILDREN, PARENTS, VALUES = 6, 4, 5
SHAPE = (3, 2, CHILDREN, PARENTS)  # images, problems, children, parents


def observed(*shares, active=None, outcomes=None, votes=None):
    """A layer whose shares by iteration, and whatever else matters, are the test's choice."""
    images, problems, children, parents = shares[-1].shape
    active = torch.ones(images, problems, children) if active is None else active
    layer = ObservedLayer("class capsules", True, 1, 1, children, parents, active, list(shares))
    layer.below = active.flatten(1)
    layer.outcomes = torch.ones(images, problems, parents) if outcomes is None else outcomes
    if votes is not None:  # [images, problems, parents, children, values]
        weights = (shares[-1] * active[..., None]).transpose(2, 3)
        layer.spectrum = compute_singular_values(votes)
        layer.routed_spectrum = compute_singular_values(weights[..., None] * votes)
    return layer


def values(*layers):
    """The numbers of the last iteration."""
    diagnosis = Diagnosis()
    for layer in layers:
        diagnosis.add_batch(layer)
    return {row.metric: row.value for row in diagnosis.make_rows("class capsules") if row.level is None}


@pytest.fixture
def drawn():
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand(SHAPE, generator=generator, dtype=torch.double).softmax(dim=-1)
    active = torch.rand(SHAPE[:3], generator=generator, dtype=torch.double)
    outcomes = torch.rand(3, 2, PARENTS, generator=generator, dtype=torch.double)
    votes = torch.randn(3, 2, PARENTS, CHILDREN, VALUES, generator=generator, dtype=torch.double)
    return observed(shares, active=active, outcomes=outcomes, votes=votes), votes


def entropy(parts):
    parts = [part / sum(parts) for part in parts]
    return -sum(part * math.log(part) for part in parts if part > 0)


def test_equal_shares_route_nothing():
    found = values(observed(torch.full(SHAPE, 1 / PARENTS)))
    assert found["coupling entropy"] == pytest.approx(1)
    assert found["image dependence"] == pytest.approx(0, abs=1e-9)
    assert found["effective children"] == pytest.approx(CHILDREN)


def test_one_parent_a_child_and_one_child_a_parent():
    found = values(observed(torch.eye(PARENTS).expand(3, 2, PARENTS, PARENTS)))
    assert found["coupling entropy"] == 0
    assert found["image dependence"] == 0
    assert found["effective children"] == pytest.approx(1)


def test_shares_that_depend_on_nothing_but_the_image_have_a_dependence_of_1():
    """Each image gives all its children to another parent: the mean is equal shares, and no image is in doubt."""
    shares = F.one_hot(torch.arange(PARENTS), PARENTS).double()[:, None, None].expand(PARENTS, 2, CHILDREN, PARENTS)
    found = values(*(observed(shares[image : image + 1]) for image in range(PARENTS)))
    assert found["coupling entropy"] == 0
    assert found["image dependence"] == pytest.approx(1)
    assert found["effective children"] == pytest.approx(sum([1, 1, 1, CHILDREN]) / PARENTS)


def test_the_entropy_of_each_iteration_is_on_record():
    diagnosis = Diagnosis()
    diagnosis.add_batch(observed(torch.full(SHAPE, 1 / PARENTS), F.one_hot(torch.zeros(SHAPE[:3]).long(), PARENTS)))
    rows = [row for row in diagnosis.make_rows("class capsules") if row.metric == "coupling entropy"]
    assert {row.level: row.value for row in rows} == {None: 0, 1: pytest.approx(1), 2: 0}


def test_means_count_capsules_as_much_as_they_are_active(drawn):
    """Each number of the couplings, summed in a loop."""
    layer, _ = drawn
    shares, active, outcomes = (tensor.numpy() for tensor in (layer.shares[0], layer.activations, layer.outcomes))
    inside = doubt = children = 0.0
    for problem, child in product(range(2), range(CHILDREN)):
        weights = active[:, problem, child]
        inside += sum(w * entropy(s) for w, s in zip(weights, shares[:, problem, child], strict=True))
        doubt += weights.sum() * entropy(weights @ shares[:, problem, child])
    for image, problem, parent in product(range(3), range(2), range(PARENTS)):
        received = shares[image, problem, :, parent] * active[image, problem]
        children += outcomes[image, problem, parent] * math.exp(entropy(received))
    found = values(layer)
    assert found["coupling entropy"] == pytest.approx(inside / active.sum() / math.log(PARENTS))
    assert found["image dependence"] == pytest.approx((doubt - inside) / active.sum() / math.log(PARENTS))
    assert found["effective children"] == pytest.approx(children / outcomes.sum())


def test_batches_add_up_to_the_images_together(drawn):
    layer, votes = drawn
    parts = [
        observed(
            layer.shares[0][which],
            active=layer.activations[which],
            outcomes=layer.outcomes[which],
            votes=votes[which],
        )
        for which in ([0], [1, 2])
    ]
    assert values(*parts) == pytest.approx(values(layer))


def test_the_ranks_are_those_of_numpy(drawn):
    layer, votes = drawn
    outcomes = layer.outcomes.numpy()
    weights = (layer.shares[0] * layer.activations[..., None]).transpose(2, 3)[..., None]
    ranks = {"vote rank": 0.0, "routed vote rank": 0.0}
    for metric, matrices in (("vote rank", votes), ("routed vote rank", weights * votes)):
        for place in product(range(3), range(2), range(PARENTS)):
            singular = np.linalg.svd(matrices[place].numpy(), compute_uv=False)
            ranks[metric] += outcomes[place] * math.exp(entropy(singular)) / outcomes.sum()
    found = values(layer)
    assert {metric: found[metric] for metric in ranks} == pytest.approx(ranks)
    assert found["numerical vote rank"] == pytest.approx(VALUES)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_votes_that_are_built_of_a_rank_have_it(rank):
    axes = torch.linalg.qr(torch.randn(VALUES, VALUES, generator=torch.Generator().manual_seed(rank)))[0]
    matrix = torch.eye(CHILDREN, VALUES)[:, :rank] @ axes[:rank]  # `rank` singular values of 1
    spectrum = compute_singular_values(matrix)
    assert count_effective(spectrum).item() == pytest.approx(rank, rel=1e-5)
    assert compute_numerical_rank(spectrum, CHILDREN).item() == rank
    uneven = compute_singular_values(torch.diag(torch.tensor([1.0, 1e-3, 1e-4])[:rank]) @ matrix[:rank])
    assert compute_numerical_rank(uneven, CHILDREN).item() == rank == np.linalg.matrix_rank(matrix.numpy())
    assert count_effective(uneven).item() == pytest.approx(1, abs=0.02)


def test_a_routing_that_selects_what_agrees_lowers_the_rank():
    """Three children agree and three do not; all shares go to those that agree."""
    votes = torch.zeros(1, 1, 1, CHILDREN, VALUES)
    votes[0, 0, 0, :3, 0] = 1
    votes[0, 0, 0, 3:, 1:4] = math.sqrt(3) * torch.eye(3)
    shares = torch.tensor([1.0, 1, 1, 0, 0, 0]).reshape(1, 1, CHILDREN, 1)
    found = values(observed(shares, votes=votes))
    assert (found["vote rank"], found["routed vote rank"]) == pytest.approx((4, 1))


def test_dead_are_those_that_are_active_in_no_image():
    active, outcomes = torch.zeros(2, 1, CHILDREN), torch.zeros(2, 1, PARENTS)
    active[0, 0, 0], active[1, 0, 1], active[1, 0, 2] = 1.0, 0.5, DEAD_BELOW  # the third is never above
    outcomes[0, 0, 0] = 1.0
    layers = [
        observed(torch.full((1, 1, CHILDREN, PARENTS), 0.25), active=active[[image]], outcomes=outcomes[[image]])
        for image in (0, 1)
    ]
    found = values(*layers)
    assert (found["dead children"], found["dead parents"]) == (4 / CHILDREN, 3 / PARENTS)


def test_what_nothing_active_would_define_is_left_out():
    nothing = observed(torch.full(SHAPE, 0.25), active=torch.zeros(SHAPE[:3]), outcomes=torch.zeros(3, 2, PARENTS))
    assert values(nothing) == {"dead children": 1, "dead parents": 1}


@pytest.mark.parametrize(
    "request_",
    [dict(routing="dynamic", iters=2), dict(routing="em", iters=2), dict(routing="self-routing")],
    ids=lambda request: request["routing"],
)
def test_real_networks_have_rows_of_each_layer_and_are_left_as_they_were(subject, make_cell, request_):
    cell = make_cell(**request_)
    torch.manual_seed(0)
    network = build_network(cell).train()
    images, labels = torch.rand(7, 1, 8, 8), torch.arange(7)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    rows = Parts("quick")(subject(cell, network, images, labels))
    layers = observe_routings(network.eval(), images)
    assert {row.condition for row in rows} == {layer.name for layer in layers}
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    found = {(row.condition, row.metric): row.value for row in rows if row.level is None}
    for layer in layers:
        entropy = layer.compute_entropy()[-1]  # each image weighs as much as its capsules are active
        weights = layer.activations.sum(dim=(1, 2))
        assert found[layer.name, "coupling entropy"] == pytest.approx(
            float((entropy * weights).sum() / weights.sum()), rel=1e-4
        )
        assert found[layer.name, "dead parents"] == float((layer.outcomes.amax(dim=0) <= DEAD_BELOW).double().mean())
        assert (layer.spectrum, layer.routed_spectrum) == (None, None)  # nobody asked
        if (layer.name, "vote rank") in found:
            assert 1 <= found[layer.name, "vote rank"] <= found[layer.name, "numerical vote rank"]
    assert ("class capsules", "vote rank") in found or cell.routing == "self-routing"


def test_the_class_capsules_of_the_observation_are_the_scores(make_cell):
    torch.manual_seed(0)
    network = build_network(make_cell(routing="em", iters=2)).eval()
    images = torch.rand(2, 1, 8, 8)
    *_, below, last = observe_routings(network, images, spectra=True)
    with torch.no_grad():
        torch.testing.assert_close(last.outcomes[:, 0], network(images))
    torch.testing.assert_close(last.below, below.outcomes.flatten(1))
    assert last.spectrum.shape[:3] == last.outcomes.shape


def test_it_is_of_networks_that_route(make_cell):
    assert Parts.applies_to(make_cell(routing="em"))
    assert Parts.applies_to(make_cell(routing="self-routing"))
    assert not Parts.applies_to(make_cell(network="resnet"))
    assert not Parts.applies_to(make_cell(network="transforming-autoencoder"))
    assert Parts.settings == tuple(IMAGES)
    assert Parts.cost.keys() == IMAGES.keys()
