"""Counts of operations, against formulas by hand and against the same algorithm with its votes in memory."""

import pytest
import torch
from torch.nn import functional as F

from capsbench_kernels import (
    Parents,
    count_arithmetic,
    dynamic_routing,
    em_routing,
    log_normaliser,
    observe_vote_passes,
    squash,
    vote_pass,
)

N, C, J, R, D, E = 2, 6, 3, 2, 4, 5
LOGITS, VALUES = N * C * J, N * C * J * R * E
POSES, WEIGHTS = torch.randn(N, C, R, D), torch.randn(C, J, D, E)

pytestmark = pytest.mark.parametrize("backend", ["reference", "cpu"])


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


@torch.no_grad()
def counted(function, *arguments, **options):
    with count_arithmetic() as count:
        function(*arguments, **options)
    return count


def test_what_a_pass_gives_counts_when_it_is_read(backend):
    def read(*names):
        moments = vote_pass(POSES, WEIGHTS, Parents(), backend=backend)
        for name in names:
            getattr(moments, name).view(-1)

    votes, shares = 2 * D * VALUES, 5 * LOGITS
    assert counted(read).algorithm == votes
    assert counted(read, "mass").algorithm == votes + shares + LOGITS
    assert counted(read, "first").algorithm == votes + shares + 2 * VALUES
    assert counted(read, "second").algorithm == votes + shares + 3 * VALUES
    assert counted(read, "first", "mass", "second", "first").algorithm == votes + shares + LOGITS + 5 * VALUES
    # A kernel makes all of it in any case.
    assert counted(read).executed == votes + shares + LOGITS + 5 * VALUES


@pytest.mark.parametrize(
    ("belief", "logits", "first"),
    [
        ({"bias": (N, J)}, 0, 2),
        ({"direction": (N, J, R * E)}, 2, 2),
        ({"mean": (N, J, R * E), "precision": (N, J, R * E)}, 4, 2),
        ({"centre": (N, J, R * E)}, 0, 3),
    ],
    ids=str,
)
def test_a_belief_adds_what_its_logits_take(belief, logits, first, backend):
    parents = Parents(**{name: draw(*shape) for name, shape in belief.items()})
    activations, offset = torch.ones(N, C), draw(1, C, R, E)

    def read():
        vote_pass(POSES, WEIGHTS, parents, activations, offset, backend).first.view(-1)

    assert counted(read).algorithm == (2 * D + 1 + logits + first) * VALUES + 6 * LOGITS


def test_votes_count_once_for_each_distinct_poses_weights_and_offset(backend):
    """Tensors count by their values: so do a view, a copy, and a tensor that reuses the id of another."""

    def passes(*arguments):
        for poses, weights, offset in arguments:
            vote_pass(poses, weights, Parents(), offset=offset, backend=backend)

    votes = 2 * D * VALUES
    same = [(POSES, WEIGHTS, None), (POSES.clone(), WEIGHTS, None), (POSES.mT.contiguous().mT, WEIGHTS[:], None)]
    assert counted(passes, *same).algorithm == votes
    assert counted(passes, *same, (POSES + 1, WEIGHTS, None)).algorithm == 2 * votes
    assert counted(passes, *same, (POSES, WEIGHTS + 1, None)).algorithm == 2 * votes
    assert counted(passes, *same, (POSES, WEIGHTS, draw(1, C, R, E))).algorithm == 2 * votes + VALUES
    assert counted(passes, *same).executed == 3 * (votes + 5 * VALUES + 6 * LOGITS)


def test_logits_count_once_for_a_normaliser_and_the_pass_that_it_goes_into(backend):
    parents = Parents(direction=draw(N, J, R * E))

    def route():
        sums = log_normaliser(POSES, WEIGHTS, parents, backend=backend).flatten().view(N, C)
        vote_pass(POSES, WEIGHTS, parents, backend=backend, log_normaliser=sums).first.view(-1)

    # The log of a sum of exponentials is 4 a logit, a share by it 2.
    assert counted(route).algorithm == (2 * D + 2 + 2) * VALUES + (4 + 2) * LOGITS


def procedure_1_of_sabour(children, parents, depth, values, iterations):
    """Returns operations an image: votes once, a softmax and a weighted sum an iteration, agreement in all but the last."""
    logits = children * parents
    weighted_sums, agreements = iterations * 2 * values, (iterations - 1) * 2 * values
    return logits * (2 * depth * values + iterations * 5 + weighted_sums + agreements)


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_dynamic_routing_is_procedure_1_however_it_is_written(iterations, backend):
    """The class capsules of the CapsNet paper: 4.97M for 3 iterations."""

    def by_broadcasting(poses, weights):
        votes = (poses[:, :, None, 0, :, None] * weights).sum(dim=3)
        logits = torch.zeros(votes.shape[:3])
        for iteration in range(iterations):
            parents = squash((logits.softmax(dim=2).unsqueeze(3) * votes).sum(dim=1))
            if iteration < iterations - 1:
                logits = logits + (votes * parents.unsqueeze(1)).sum(dim=3)

    poses, weights = draw(1, 1152, 1, 8), draw(1152, 10, 8, 16)
    ours = counted(dynamic_routing, poses, weights, iterations, backend=backend)
    expected = procedure_1_of_sabour(1152, 10, 8, 16, iterations)
    assert ours.passes == iterations
    assert ours.algorithm == pytest.approx(expected, rel=1e-3)  # the squash is not in the formula
    assert counted(by_broadcasting, poses, weights).algorithm == pytest.approx(ours.algorithm, rel=0.01)
    if iterations == 3:
        assert expected == 4_965_120
        assert ours.executed > 2.5 * ours.algorithm


def test_em_routing_reads_second_moments(backend):
    poses, weights = draw(1, 32, 4, 4), draw(32, 10, 4, 4)
    activations, betas = torch.full((1, 32), 0.5), torch.zeros(10)
    count = counted(
        em_routing, poses, weights, activations, betas, betas, 3, inverse_temperature=[1, 1, 1], backend=backend
    )
    votes, first, later = 2 * 4, 2 + 3, 4 + 3 + 3  # a Gaussian takes 4, a centre 1
    routed = 32 * 10 * (16 * (votes + first + 2 * later) + 3 * 7)
    assert routed < count.algorithm < 1.1 * routed  # the M-step, a row a parent, is the rest


def test_what_is_repeated_for_precision_is_not_counted(backend):
    """The number does not depend on values."""

    def route(far):
        betas, offset = torch.zeros(5), torch.full((1, 12, 4, 4), far)
        options = dict(inverse_temperature=[1, 1, 1], offset=offset, backend=backend)
        em_routing(draw(4, 12, 4, 4), draw(12, 5, 4, 4), torch.ones(4, 12), betas, betas, 3, **options)

    near, far = counted(route, 0.0), counted(route, 1e4)
    assert (near.passes, near.algorithm, near.executed) == (far.passes, far.algorithm, far.executed)


def test_operations_around_the_passes(backend):
    images = draw(4, 2, 5, 5)
    kernel, matrix = draw(3, 2, 3, 3), draw(5, 27)

    def network():
        convolved = F.relu(F.conv2d(images, kernel))
        logits = F.linear(convolved.flatten(1), matrix)
        logits.softmax(dim=1)
        F.max_pool2d(images, 2)
        images.permute(0, 2, 3, 1).contiguous().to(torch.float64)

    convolution, relu = 2 * 4 * 27 * 18, 4 * 27
    assert counted(network).algorithm == convolution + relu + 2 * 4 * 27 * 5 + 5 * 20 + 4 * (4 * 2 * 2 * 2)
    assert counted(network).executed == counted(network).algorithm


@pytest.mark.parametrize(
    ("function", "operations"),
    [
        (torch.sum, 1),
        (lambda images: images.argmax(dim=1), 1),
        (lambda images: F.adaptive_avg_pool2d(images, 3), 1),
        (torch.linalg.vector_norm, 2),
        (torch.var, 4),
        (lambda images: images.logsumexp(dim=1), 4),
        (lambda images: images.log_softmax(dim=1), 5),
        (lambda images: F.layer_norm(images, images.shape[1:]), 8),
        (lambda images: F.group_norm(images, 1), 8),
        (lambda images: F.batch_norm(images, torch.zeros(2), torch.ones(2)), 4),
        (lambda images: F.avg_pool2d(images, (5, 1)), 1),
    ],
)
def test_a_function_of_all_elements_counts_them_by_its_kind(function, operations, backend):
    images = draw(4, 2, 5, 5)
    assert counted(function, images).algorithm == operations * images.numel()


def test_a_pass_may_be_counted_and_observed(backend):
    passes = []
    with observe_vote_passes(passes.append):
        count = counted(dynamic_routing, POSES, WEIGHTS, 2, backend=backend)
    assert (count.passes, len(passes)) == (2, 2)
