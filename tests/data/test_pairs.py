"""Pairs of images: that the transform is what leads from one to the other, and where it lies."""

import pytest
import torch

from capsbench.data.augment import Augmented
from capsbench.data.images import Batch, Images
from capsbench.data.pairs import AffinePairs, ShiftPairs
from capsbench.errors import ArgumentError


def made(pairs, images, drawn):
    labels = torch.zeros(len(images), dtype=torch.int64)
    return pairs(Batch(images, labels), drawn, Images(images, labels))


def drawn(pairs, count):
    return torch.rand(count, pairs.draws, generator=torch.Generator().manual_seed(1))


def shift_between(image, result, most):
    """The one (x, y) by which an image without zeros was moved, found by trying them all."""
    found = []
    height, width = image.shape[1:]
    for right in range(-most, most + 1):
        for down in range(-most, most + 1):
            expected = torch.zeros_like(image)
            for y in range(height):
                for x in range(width):
                    if 0 <= y - down < height and 0 <= x - right < width:
                        expected[:, y, x] = image[:, y - down, x - right]
            if torch.equal(expected, result):
                found.append((right, down))
    (one,) = found
    return one


# Shifts


@pytest.mark.parametrize(("beyond", "least", "most"), [(False, 0, 1), (True, 2, 2)])
def test_both_images_of_a_pair_are_shifted_and_the_transform_is_the_difference(beyond, least, most):
    pairs = ShiftPairs(1).extend_range() if beyond else ShiftPairs(1)
    images = torch.rand(100, 1, 4, 5, generator=torch.Generator().manual_seed(0)) + 0.1
    batch = made(pairs, images, drawn(pairs, 100))
    before = [shift_between(*pair, 2) for pair in zip(images, batch.images, strict=True)]
    after = [shift_between(*pair, 2) for pair in zip(images, batch.targets, strict=True)]
    inside = {(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)}
    square = {(x, y) for x in range(-most, most + 1) for y in range(-most, most + 1)}
    assert set(before) == inside
    assert set(after) == {(x, y) for x, y in square if max(abs(x), abs(y)) >= least}
    assert batch.transforms.tolist() == [[b[0] - a[0], b[1] - a[1]] for a, b in zip(before, after, strict=True)]


def test_shifts_of_the_images_and_of_the_targets_have_nothing_to_do_with_each_other():
    pairs = ShiftPairs(2)
    images = torch.zeros(10_000, 1, 9, 9)
    images[:, :, 4, 4] = 1
    batch = made(pairs, images, drawn(pairs, 10_000))
    before, after = (each.flatten(1).argmax(dim=1) for each in (batch.images, batch.targets))
    counts = torch.zeros(81, 81).index_put((before, after), torch.ones(()), accumulate=True)
    counts = counts[counts.sum(dim=1) > 0][:, counts.sum(dim=0) > 0]
    assert counts.shape == (25, 25)
    assert counts.min() > 0  # 16 expected
    assert counts.max() < 40


def test_shifts_add_up():
    poses = torch.randn(3, 4, 2, dtype=torch.double)
    first, second = torch.tensor([[1.0, -2.0], [0, 3], [2, 2]]), torch.tensor([[3.0, 0.0], [-1, 1], [0, -4]])
    pairs = ShiftPairs(2)
    for i in range(3):
        for capsule in range(4):
            expected = poses[i, capsule] + first[i] + second[i]
            torch.testing.assert_close(pairs.move_poses(pairs.move_poses(poses, first), second)[i, capsule], expected)
    assert torch.equal(pairs.move_poses(poses, pairs.make_identity(torch.zeros(3, 1, 2, 2))), poses)


# Affine transformations


def blob(x, y, side=28):
    """A smooth spot around a point in pixels from the centre, and the coordinates of the pixels."""
    along = torch.arange(side, dtype=torch.double) - (side - 1) / 2
    spot = torch.exp(-((along[None] - x) ** 2 + (along[:, None] - y) ** 2) / 4)
    return spot[None], along


def centroid(image, along):
    mass = image[0].sum()
    return (image[0].sum(dim=0) * along).sum() / mass, (image[0].sum(dim=1) * along).sum() / mass


@pytest.mark.parametrize("beyond", [False, True])
def test_a_transform_takes_each_point_of_the_image_to_its_place_in_the_target(beyond):
    pairs = AffinePairs(2).extend_range() if beyond else AffinePairs(2)
    spots = [(0, 0), (3, 0), (0, 3), (-2, 1), (2, -3)]
    images = torch.stack([blob(*spot)[0] for spot in spots for _ in range(8)])
    along = blob(0, 0)[1]
    batch = made(pairs, images, drawn(pairs, 40))
    for image, target, matrix in zip(batch.images, batch.targets, batch.transforms, strict=True):
        before, after = centroid(image, along), centroid(target, along)
        point = torch.stack([before[0] / 14, before[1] / 14, torch.ones(())])
        torch.testing.assert_close(14 * (matrix @ point)[:2], torch.stack(after), atol=0.05, rtol=0)
        assert matrix[2].tolist() == [0, 0, 1]


@pytest.mark.parametrize(("beyond", "least", "most"), [(False, 0.0, 1.0), (True, 1.0, 2.0)])
def test_affine_targets_lie_in_the_ranges_of_affnist_or_beyond_them(beyond, least, most):
    pairs = AffinePairs(3).extend_range() if beyond else AffinePairs(3)
    numbers = drawn(pairs, 500)
    numbers[:, :6] = 0.5  # the image stays as it is, and the transform is the target's own
    matrices = made(pairs, torch.rand(500, 1, 8, 10, dtype=torch.double), numbers).transforms
    a, b, x, c, d, y, *_ = matrices.flatten(1).unbind(1)
    scale_x = torch.hypot(a, c)
    scale_y = (a * d - b * c) / scale_x
    turned = torch.atan2(-c, a)
    sheared = (a * b + c * d) / scale_x / scale_y
    shares = [turned.rad2deg() / 20, sheared / 0.2, (scale_x - 1) / 0.2, (scale_y - 1) / 0.2, 5 * x / 3, 5 * y / 3]
    largest = torch.stack(shares).abs().amax(dim=0)
    assert least < largest.min()
    assert largest.max() <= most
    for share in shares:
        assert share.min() < -0.8 * most
        assert share.max() > 0.8 * most


def test_affine_transforms_multiply_poses_from_the_left():
    poses, first, second = (torch.randn(2, *shape, 3, 3, dtype=torch.double) for shape in ((4,), (), ()))
    pairs = AffinePairs(2)
    for i in range(2):
        for capsule in range(4):
            expected = second[i] @ first[i] @ poses[i, capsule]
            torch.testing.assert_close(pairs.move_poses(pairs.move_poses(poses, first), second)[i, capsule], expected)
    assert torch.equal(pairs.move_poses(poses, pairs.make_identity(torch.zeros(2, 1, 2, 2).double())), poses)


# Both


@pytest.mark.parametrize("family", [ShiftPairs, AffinePairs])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_pair_is_the_same_whatever_its_batch(family, dtype):
    train = Images(torch.rand(20, 1, 8, 8, dtype=dtype), torch.zeros(20, dtype=torch.int64))

    def epoch(size):
        augmented = Augmented(train, (family(1),), torch.Generator().manual_seed(2))
        batches = [augmented.build_batch(which) for which in torch.arange(20).split(size)]
        return [torch.cat(parts) for parts in zip(*[(b.images, b.targets, b.transforms) for b in batches], strict=True)]

    for one, other in zip(epoch(20), epoch(7), strict=True):
        assert one.dtype == dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("family", [ShiftPairs, AffinePairs])
def test_a_range_of_nothing_is_refused(family):
    with pytest.raises(ArgumentError) as caught:
        family(0)
    assert (caught.value.argument, caught.value.value) == ("reach", 0)
