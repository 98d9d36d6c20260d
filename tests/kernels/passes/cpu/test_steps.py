"""The steps on one tile against NumPy; `test_passes.py` holds whole passes against the reference."""

import numpy as np
import pytest
from numba import njit

from capsbench_kernels.passes.cpu.lanes import WIDTH, load, point_to, store
from capsbench_kernels.passes.cpu.steps import (
    add_four,
    add_logits,
    add_row_sum,
    add_vote_gradients,
    compute_votes,
    fill_four,
    softmax_shares,
)
from capsbench_kernels.passes.cpu.tiles import QUAD, TILE

DEPTH, LANES = 3, slice(0, WIDTH)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((*shape, TILE))


@njit
def vote(poses, weights, offset, votes):
    columns = compute_votes(point_to(poses), 0, point_to(weights), 0, point_to(offset), 0, DEPTH, 0.0)
    for column, lanes in enumerate(columns):
        store(point_to(votes), column * TILE, lanes)


@pytest.mark.parametrize("offset", [draw(QUAD, seed=2), np.empty(0)], ids=["offset", "no offset"])
def test_a_vote_is_a_pose_times_a_matrix_and_an_offset(offset):
    poses, weights, votes = draw(DEPTH), draw(DEPTH, QUAD, seed=1), np.full((QUAD, TILE), np.nan)
    vote(poses, weights, offset, votes)
    expected = np.einsum("dt,dct->ct", poses, weights) + (offset if offset.size else 0)
    np.testing.assert_allclose(votes[:, LANES], expected[:, LANES])
    assert np.isnan(votes[:, WIDTH:]).all()


@njit
def send_gradients(gradients, poses, to_poses, weights, to_weights):
    g = point_to(gradients)
    y0, y1, y2, y3 = load(g, 0), load(g, TILE), load(g, 2 * TILE), load(g, 3 * TILE)
    u, to_u, w, to_w = point_to(poses), point_to(to_poses), point_to(weights), point_to(to_weights)
    add_vote_gradients(y0, y1, y2, y3, u, to_u, 0, w, to_w, 0, DEPTH)


def test_gradients_of_votes_are_added_to_those_of_poses_and_weights():
    gradients, poses, weights = draw(QUAD), draw(DEPTH, seed=1), draw(DEPTH, QUAD, seed=2)
    to_poses, to_weights = np.ones_like(poses), np.ones_like(weights)
    send_gradients(gradients, poses, to_poses, weights, to_weights)
    of_poses, of_weights = np.einsum("ct,dct->dt", gradients, weights), np.einsum("ct,dt->dct", gradients, poses)
    np.testing.assert_allclose(to_poses[:, LANES], 1 + of_poses[:, LANES])
    np.testing.assert_allclose(to_weights[..., LANES], 1 + of_weights[..., LANES])
    assert (to_poses[:, WIDTH:] == 1).all()
    assert (to_weights[..., WIDTH:] == 1).all()


@njit
def add_agreement(logits, distances, directions, halves):
    t, g, p = point_to(distances), point_to(directions), point_to(halves)
    t0, t1, t2, t3 = load(t, 0), load(t, TILE), load(t, 2 * TILE), load(t, 3 * TILE)
    g0, g1, g2, g3 = fill_four(g, 0, 0.0)
    p0, p1, p2, p3 = fill_four(p, 0, 0.0)
    add_logits(point_to(logits), 0, t0, t1, t2, t3, g0, g1, g2, g3, p0, p1, p2, p3)


@pytest.mark.parametrize("directions", [np.array([1.0, -2.0, 3.0, 0.5]), np.empty(0)], ids=["direction", "none"])
def test_logits_grow_by_agreement_and_fall_by_squared_distance(directions):
    distances, halves, logits = draw(QUAD), np.array([0.5, 1.0, 2.0, 4.0]), np.ones(TILE)
    add_agreement(logits, distances, directions, halves)
    along = directions if directions.size else np.zeros(4)
    expected = 1 + along @ distances - halves @ distances**2
    np.testing.assert_allclose(logits[LANES], expected[LANES])
    assert (logits[WIDTH:] == 1).all()


@njit
def share(logits, parents, top, total, normalised, scales):
    softmax_shares(
        point_to(logits), 0, parents, 0, point_to(top), point_to(total), normalised, load(point_to(scales), 0), 0.0
    )


def test_shares_are_a_softmax_over_the_parents_times_a_scale():
    logits, scales = draw(3), draw(seed=1)
    shares, top, total = logits.copy(), np.full(TILE, np.nan), np.full(TILE, np.nan)
    share(shares, 3, top, total, False, scales)
    powers = np.exp(logits - logits.max(axis=0))
    np.testing.assert_array_equal(top[LANES], logits.max(axis=0)[LANES])
    np.testing.assert_allclose(total[LANES], powers.sum(axis=0)[LANES])
    np.testing.assert_allclose(shares[:, LANES], (powers / powers.sum(axis=0) * scales)[:, LANES])
    np.testing.assert_array_equal(shares[:, WIDTH:], logits[:, WIDTH:])


def test_shares_with_a_given_normaliser_need_not_sum_to_1():
    logits, normaliser, scales, total = draw(3), draw(seed=1), draw(seed=2), np.full(TILE, np.nan)
    shares, top = logits.copy(), normaliser.copy()
    share(shares, 3, top, total, True, scales)
    np.testing.assert_allclose(shares[:, LANES], (np.exp(logits - normaliser) * scales)[:, LANES])
    np.testing.assert_array_equal(top, normaliser)
    assert np.isnan(total).all()


@njit
def add_to_rows(tile, lanes, target, count):
    x = point_to(lanes)
    add_four(point_to(tile), 0, load(x, 0), load(x, TILE), load(x, 2 * TILE), load(x, 3 * TILE))
    add_row_sum(x, 0, count, point_to(target), 1, 0.0)


def test_rows_are_added_to_and_summed():
    lanes, tile, target = draw(4), np.ones((4, TILE)), np.array([7.0, 8.0, 9.0])
    add_to_rows(tile, lanes, target, 20)
    np.testing.assert_allclose(tile[:, LANES], 1 + lanes[:, LANES])
    assert (tile[:, WIDTH:] == 1).all()
    np.testing.assert_allclose(target, [7, 8 + lanes[0, :32].sum(), 9])  # rows are filled up to whole lanes
