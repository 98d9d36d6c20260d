"""Warps against scipy and torchvision, where whole pixels go, and what a draw out of affNIST's distribution is."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as torchvision

from capsbench.data.augment import Augmented, Batch
from capsbench.data.base import Images
from capsbench.data.warps import Warp, affine, affnist_matrices, warped

DTYPES = [torch.float32, torch.float64]


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrices(
    rotation: float = 0, shear: float = 0, scale_x: float = 1, scale_y: float = 1, right: float = 0, down: float = 0
) -> Tensor:
    """One matrix ``[1, 2, 3]``."""
    linear = affine(*(torch.tensor([float(value)]) for value in (rotation, shear, scale_x, scale_y)))
    return torch.cat([linear, torch.tensor([[[right], [down]]], dtype=torch.float64)], dim=2)


def strokes(count: int, size: int = 20, margin: int = 10, seed: int = 3) -> Tensor:
    """Images ``[count, 1, 40, 40]`` of a random line each, 3 pixels wide, in their middle."""
    images = torch.zeros(count, 1, size + 2 * margin, size + 2 * margin)
    for image, numbers in zip(images, uniform(count, 4, seed=seed), strict=True):
        (x0, y0), (x1, y1) = (numbers * (size - 3) + margin).view(2, 2).tolist()
        for part in np.linspace(0, 1, 60):
            x, y = round(x0 + part * (x1 - x0)), round(y0 + part * (y1 - y0))
            image[0, y : y + 3, x : x + 3] = 1
    return images


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 28, 28), (2, 3, 33, 33), (3, 2, 40, 40), (2, 1, 5, 9), (1, 1, 64, 64)])
def test_the_identity_changes_no_bit(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    images = uniform(*shape).to(dtype)
    assert torch.equal(warped(images, matrices().expand(shape[0], -1, -1)), images)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", [8, 28, 33, 40])
@pytest.mark.parametrize("turns", [-2, -1, 1, 2, 3, 5])
def test_quarter_turns_are_exact_and_counter_clockwise(side: int, turns: int, dtype: torch.dtype) -> None:
    images = uniform(1, 2, side, side).to(dtype)
    assert torch.equal(warped(images, matrices(rotation=90 * turns)), torch.rot90(images, turns, (2, 3)))


def test_whole_shifts_are_exact_to_the_right_and_down() -> None:
    images = uniform(1, 1, 28, 30).float()
    expected = torch.zeros_like(images)
    expected[:, :, 5:, :-3] = images[:, :, :-5, 3:]
    assert torch.equal(warped(images, matrices(right=-3, down=5)), expected)


def test_half_a_pixel_is_the_mean_of_two_and_beyond_the_edge_is_zero() -> None:
    images = torch.tensor([[[[1.0, 2.0, 5.0]]]])
    torch.testing.assert_close(warped(images, matrices(right=0.5)), torch.tensor([[[[0.5, 1.5, 3.5]]]]))


@pytest.mark.parametrize(
    ("option", "goes_to"),
    [
        ({"rotation": 90}, (0, -8)),
        ({"shear": 0.5}, (8, 0)),
        ({"scale_x": 1.5}, (12, 0)),
        ({"scale_y": 1.5}, (8, 0)),
        ({"right": 3}, (11, 0)),
        ({"down": 3}, (8, 3)),
    ],
)
def test_where_a_point_to_the_right_of_the_centre_goes(option: dict[str, float], goes_to: tuple[int, int]) -> None:
    images = torch.zeros(1, 1, 41, 41)
    images[0, 0, 20, 28] = 1
    y, x = divmod(int(warped(images, matrices(**option)).argmax()), 41)
    assert (x - 20, y - 20) == goes_to


def test_a_shear_moves_what_is_below_to_the_right() -> None:
    images = torch.zeros(1, 1, 41, 41)
    images[0, 0, 30, 20] = 1
    y, x = divmod(int(warped(images, matrices(shear=0.5)).argmax()), 41)
    assert (x - 20, y - 20) == (5, 10)


@pytest.mark.parametrize("shape", [(2, 13, 13), (1, 28, 40), (3, 9, 6)])
def test_any_warp_is_that_of_scipy(shape: tuple[int, int, int]) -> None:
    images = uniform(6, *shape)
    linear = torch.eye(2, dtype=torch.float64) + uniform(6, 2, 2, seed=1) - 0.5
    shift = 6 * uniform(6, 2, 1, seed=2) - 3
    found = warped(images, torch.cat([linear, shift], dim=2))
    centre = np.array([(shape[1] - 1) / 2, (shape[2] - 1) / 2])
    for i in range(6):
        # scipy wants rows before columns, and where each pixel of the output comes from
        inverse = np.linalg.inv(linear[i].numpy())[::-1, ::-1]
        offset = centre - inverse @ (centre + shift[i, :, 0].numpy()[::-1])
        for channel in range(shape[0]):
            expected = ndimage.affine_transform(
                images[i, channel].numpy(), inverse, offset, order=1, mode="grid-constant"
            )
            np.testing.assert_allclose(found[i, channel].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("rotation", "shear", "scale"), [(20, 0, 1), (-13, 0.2, 1), (7.5, -0.2, 0.8), (0, 0.1, 1.2)])
def test_rotation_shear_and_scale_are_those_of_torchvision(rotation: float, shear: float, scale: float) -> None:
    images = uniform(1, 1, 28, 28).float()
    # torchvision turns clockwise, and shears to the left by an angle
    expected = torchvision.affine(
        images, -rotation, [3.0, -2.0], scale, [-math.degrees(math.atan(shear)), 0.0], InterpolationMode.BILINEAR
    )
    found = warped(images, matrices(rotation, shear, scale, scale, right=3, down=-2))
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_a_draw_scales_shears_and_rotates_uniformly_within_affnists_ranges() -> None:
    images, drawn = strokes(50), uniform(50, 6, seed=4)
    found = affnist_matrices(images, drawn)
    for matrix, numbers in zip(found, drawn.tolist(), strict=True):
        angle = math.radians(-20 + 40 * numbers[0])
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        lean = np.array([[1, -0.2 + 0.4 * numbers[1]], [0, 1]])
        scale = np.diag([0.8 + 0.4 * numbers[2], 0.8 + 0.4 * numbers[3]])
        np.testing.assert_allclose(matrix[:, :2].numpy(), turn @ lean @ scale, atol=1e-10)


def test_no_ink_leaves_the_image() -> None:
    images, drawn = strokes(300), uniform(300, 6, seed=5)
    drawn[:100, 4:], drawn[100:200, 4:] = 0, 1 - 1e-9
    found = affnist_matrices(images, drawn)
    larger = warped(F.pad(images, (20, 20, 20, 20)), found)
    outside = larger.clone()
    outside[:, :, 20:-20, 20:-20] = 0
    assert outside.max() < 1e-5
    torch.testing.assert_close(warped(images, found), larger[:, :, 20:-20, 20:-20], atol=2e-5, rtol=0)


def test_translations_take_all_the_room_there_is() -> None:
    images = strokes(100)
    corners = []
    for place in (0, 1 - 1e-9):
        drawn = uniform(100, 6, seed=6)
        drawn[:, 4:] = place
        corners.append(warped(images, affnist_matrices(images, drawn)) > 0)
    assert corners[0][:, 0, :2].any(dim=(1, 2)).all()
    assert corners[0][:, 0, :, :2].any(dim=(1, 2)).all()
    assert corners[1][:, 0, -2:].any(dim=(1, 2)).all()
    assert corners[1][:, 0, :, -2:].any(dim=(1, 2)).all()


def test_translations_are_uniform_and_do_not_depend_on_where_the_ink_was() -> None:
    images = strokes(1).expand(500, -1, -1, -1)
    drawn = torch.cat(
        [torch.full((500, 4), 0.5), torch.linspace(0, 1, 500, dtype=torch.float64)[:, None].expand(-1, 2)], dim=1
    )
    right, down = affnist_matrices(images, drawn)[:, :, 2].T
    torch.testing.assert_close(right.diff(), right.diff()[:1].expand(499), atol=1e-6, rtol=0)
    elsewhere = torch.roll(images, (-7, 5), dims=(2, 3))
    torch.testing.assert_close(affnist_matrices(elsewhere, drawn)[:, :, 2], torch.stack([right - 5, down + 7], dim=1))


def test_what_is_too_large_after_its_warp_is_centred() -> None:
    drawn = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.1, 0.9]])
    translation = affnist_matrices(torch.ones(1, 1, 40, 40), drawn)[:, :, 2]
    torch.testing.assert_close(translation, torch.zeros(1, 2, dtype=torch.float64))


def test_an_image_without_ink_stays_without() -> None:
    blank = torch.zeros(1, 1, 40, 40)
    assert torch.equal(warped(blank, affnist_matrices(blank, uniform(1, 6))), blank)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_an_image_is_warped_to_the_same_bits_whatever_the_batch(size: int) -> None:
    train = Images(strokes(64), torch.zeros(64, dtype=torch.int64))

    def epoch(batch_size: int) -> Tensor:
        augmented = Augmented(train, (Warp(),), torch.Generator().manual_seed(1))
        return torch.cat([augmented.batch(which).images for which in torch.arange(64).split(batch_size)])

    assert torch.equal(epoch(size), epoch(64))
    assert not torch.equal(epoch(size)[0], train.images[0])


@pytest.mark.parametrize("objects", [1, 2])
def test_targets_are_warped_with_their_image(objects: int) -> None:
    alone = torch.stack([strokes(5, seed=seed) for seed in range(objects)], dim=1)
    images, labels = alone.amax(dim=1), torch.zeros(5, dtype=torch.int64)
    drawn = uniform(5, 6, seed=7).float()
    result = Warp()(Batch(images, labels, alone), drawn, Images(images, labels))
    assert result.targets is not None
    assert result.targets.shape == alone.shape
    expected = warped(images, affnist_matrices(images, drawn))
    assert torch.equal(result.images, expected)
    for k in range(objects):
        assert torch.equal(result.targets[:, k], warped(alone[:, k], affnist_matrices(images, drawn)))
    whole = Warp()(Batch(images, labels, images), drawn, Images(images, labels))
    assert whole.targets is not None
    assert torch.equal(whole.targets, whole.images)


def test_the_meta_device_has_shapes() -> None:
    images = torch.empty(4, 3, 28, 20, device="meta")
    assert warped(images, affnist_matrices(images, torch.empty(4, 6, device="meta"))).shape == images.shape
