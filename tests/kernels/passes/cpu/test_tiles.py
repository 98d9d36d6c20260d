"""Places in the scratch memory by hand, and tiles that are read and written again."""

import numpy as np
import pytest
from numba import njit

from capsbench_kernels.passes.cpu.lanes import point_to
from capsbench_kernels.passes.cpu.tiles import (
    BLOCK,
    QUAD,
    TILE,
    Scratch,
    Shape,
    place_row,
    place_value,
    place_weights,
    read_numbers,
    read_row,
    read_weights,
    write_row,
    write_weights,
)

SHAPE = Shape(problems=2, children=19, parents=3, rows=2, depth=5, columns=6, quads=2)


def test_tiles_lie_one_after_the_other():
    assert (TILE, BLOCK, QUAD) == (96, 4, 4)
    poses, weights, offset, shares = 4 * 2 * 5, 3 * 2 * 5 * 4, 4 * 2 * 2 * 4, 4 * 3
    lengths = [poses, weights, offset, shares, shares, 4, poses, weights, offset]
    whole = Scratch.lay_out(SHAPE, offset=True, backward=True)
    assert [*whole] == [96 * sum(lengths[:place]) for place in range(10)]
    forward = Scratch.lay_out(SHAPE, offset=False, backward=False)
    assert forward.logits == forward.offset == 96 * (poses + weights)
    assert forward.size == forward.to_poses == 96 * (poses + weights + 2 * shares + 4)


@njit
def place_all(shape):
    return place_weights(shape, 2, 1), place_row(shape, 3, 1, 1), place_value(shape, 1, 2, 1, 1)


def test_places_are_those_of_the_layouts():
    weights, (pose, offset), value = place_all(SHAPE)
    assert weights == np.ravel_multi_index((2, 1, 0, 0, 0), (3, 2, 5, 4, 96))
    assert pose == np.ravel_multi_index((3, 1, 0, 0), (4, 2, 5, 96))
    assert offset == np.ravel_multi_index((3, 1, 1, 0, 0), (4, 2, 2, 4, 96))
    assert value == np.ravel_multi_index((1, 2, 1, 1, 0), (2, 3, 2, 2, 4))


@njit
def copy_row(source, at, stride, count, tile, row, target):
    read_row(point_to(source), at, stride, count, point_to(tile), row, 0.0)
    write_row(point_to(tile), row, point_to(target), at, stride, count)


@pytest.mark.parametrize("count", [1, 15, 16, 19, 32])
def test_a_row_is_read_with_zeros_behind_it_and_written_to_its_own_places(count):
    source = np.arange(1.0, 101.0)
    tile, target = np.full(100, np.nan), np.full(100, np.nan)
    copy_row(source, 4, 3, count, tile, 16, target)
    places, filled = 4 + 3 * np.arange(count), -(-count // 16) * 16
    np.testing.assert_array_equal(tile[16 : 16 + count], source[places])
    np.testing.assert_array_equal(tile[16 + count : 16 + filled], 0)
    assert np.isnan(tile[:16]).all()
    assert np.isnan(tile[16 + filled :]).all()
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(target)), places)
    np.testing.assert_array_equal(target[places], source[places])


@njit
def copy_weights(weights, shape, child, count, tile, target):
    read_weights(point_to(weights), shape, child, count, point_to(tile), 0.0)
    write_weights(point_to(tile), point_to(target), shape, child, count)


def test_weights_are_read_by_quads_with_zeros_beyond_their_columns():
    children, parents, depth, columns = 19, 3, 5, 6
    weights = np.random.default_rng(0).standard_normal((children, parents, depth, columns))
    tile, target = np.full((parents, 2, depth, QUAD, TILE), np.nan), np.full_like(weights, np.nan)
    copy_weights(weights, SHAPE, 1, 18, tile, target)
    by_quads = np.zeros((parents, 2, depth, QUAD, TILE))
    for column in range(columns):
        by_quads[:, column // 4, :, column % 4, :18] = weights[1:, :, :, column].transpose(1, 2, 0)
    np.testing.assert_array_equal(tile, by_quads)
    np.testing.assert_array_equal(target[1:], weights[1:])
    assert np.isnan(target[0]).all()


@njit
def copy_numbers(source, at, count, row):
    read_numbers(point_to(source), at, count, point_to(row), 1.0, 2.0)


def test_numbers_of_children_have_a_stand_in_where_there_is_no_tensor_or_no_child():
    row = np.full(TILE, np.nan)
    copy_numbers(np.arange(10.0), 3, 4, row)
    np.testing.assert_array_equal(row, [3, 4, 5, 6, *[2] * 92])
    copy_numbers(np.empty(0), 3, 4, row)
    np.testing.assert_array_equal(row, [*[1] * 4, *[2] * 92])
