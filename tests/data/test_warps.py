"""Warps against scipy and torchvision, where whole pixels go, what a draw out of affNIST's distribution is, and families."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as torchvision

from capsbench.data.augment import Augmented
from capsbench.data.images import Batch, Images
from capsbench.data.warps import (
    DRAWS,
    FAMILIES,
    RANGES,
    Outside,
    Warp,
    build_linear_parts,
    compose_homographies,
    draw_affnist_matrices,
    warp_images,
)

DTYPES = [torch.float32, torch.float64]


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrices(
    rotation: float = 0, shear: float = 0, scale_x: float = 1, scale_y: float = 1, right: float = 0, down: float = 0
) -> Tensor:
    """One matrix ``[1, 2, 3]``."""
    linear = build_linear_parts(*(torch.tensor([float(value)]) for value in (rotation, shear, scale_x, scale_y)))
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
    assert torch.equal(warp_images(images, matrices().expand(shape[0], -1, -1)), images)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", [8, 28, 33, 40])
@pytest.mark.parametrize("turns", [-2, -1, 1, 2, 3, 5])
def test_quarter_turns_are_exact_and_counter_clockwise(side: int, turns: int, dtype: torch.dtype) -> None:
    images = uniform(1, 2, side, side).to(dtype)
    assert torch.equal(warp_images(images, matrices(rotation=90 * turns)), torch.rot90(images, turns, (2, 3)))


def test_whole_shifts_are_exact_to_the_right_and_down() -> None:
    images = uniform(1, 1, 28, 30).float()
    expected = torch.zeros_like(images)
    expected[:, :, 5:, :-3] = images[:, :, :-5, 3:]
    assert torch.equal(warp_images(images, matrices(right=-3, down=5)), expected)


def test_half_a_pixel_is_the_mean_of_two_and_beyond_the_edge_is_zero() -> None:
    images = torch.tensor([[[[1.0, 2.0, 5.0]]]])
    torch.testing.assert_close(warp_images(images, matrices(right=0.5)), torch.tensor([[[[0.5, 1.5, 3.5]]]]))


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
    y, x = divmod(int(warp_images(images, matrices(**option)).argmax()), 41)
    assert (x - 20, y - 20) == goes_to


def test_a_shear_moves_what_is_below_to_the_right() -> None:
    images = torch.zeros(1, 1, 41, 41)
    images[0, 0, 30, 20] = 1
    y, x = divmod(int(warp_images(images, matrices(shear=0.5)).argmax()), 41)
    assert (x - 20, y - 20) == (5, 10)


@pytest.mark.parametrize("shape", [(2, 13, 13), (1, 28, 40), (3, 9, 6)])
def test_any_warp_is_that_of_scipy(shape: tuple[int, int, int]) -> None:
    images = uniform(6, *shape)
    linear = torch.eye(2, dtype=torch.float64) + uniform(6, 2, 2, seed=1) - 0.5
    shift = 6 * uniform(6, 2, 1, seed=2) - 3
    found = warp_images(images, torch.cat([linear, shift], dim=2))
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
    found = warp_images(images, matrices(rotation, shear, scale, scale, right=3, down=-2))
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_a_draw_scales_shears_and_rotates_uniformly_within_affnists_ranges() -> None:
    images, drawn = strokes(50), uniform(50, 6, seed=4)
    found = draw_affnist_matrices(images, drawn)
    for matrix, numbers in zip(found, drawn.tolist(), strict=True):
        angle = math.radians(-20 + 40 * numbers[0])
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        lean = np.array([[1, -0.2 + 0.4 * numbers[1]], [0, 1]])
        scale = np.diag([0.8 + 0.4 * numbers[2], 0.8 + 0.4 * numbers[3]])
        np.testing.assert_allclose(matrix[:, :2].numpy(), turn @ lean @ scale, atol=1e-10)


def test_no_ink_leaves_the_image() -> None:
    images, drawn = strokes(300), uniform(300, 6, seed=5)
    drawn[:100, 4:], drawn[100:200, 4:] = 0, 1 - 1e-9
    found = draw_affnist_matrices(images, drawn)
    larger = warp_images(F.pad(images, (20, 20, 20, 20)), found)
    outside = larger.clone()
    outside[:, :, 20:-20, 20:-20] = 0
    assert outside.max() < 1e-5
    torch.testing.assert_close(warp_images(images, found), larger[:, :, 20:-20, 20:-20], atol=2e-5, rtol=0)


def test_translations_take_all_the_room_there_is() -> None:
    images = strokes(100)
    corners = []
    for place in (0, 1 - 1e-9):
        drawn = uniform(100, 6, seed=6)
        drawn[:, 4:] = place
        corners.append(warp_images(images, draw_affnist_matrices(images, drawn)) > 0)
    assert corners[0][:, 0, :2].any(dim=(1, 2)).all()
    assert corners[0][:, 0, :, :2].any(dim=(1, 2)).all()
    assert corners[1][:, 0, -2:].any(dim=(1, 2)).all()
    assert corners[1][:, 0, :, -2:].any(dim=(1, 2)).all()


def test_translations_are_uniform_and_do_not_depend_on_where_the_ink_was() -> None:
    images = strokes(1).expand(500, -1, -1, -1)
    drawn = torch.cat(
        [torch.full((500, 4), 0.5), torch.linspace(0, 1, 500, dtype=torch.float64)[:, None].expand(-1, 2)], dim=1
    )
    right, down = draw_affnist_matrices(images, drawn)[:, :, 2].T
    torch.testing.assert_close(right.diff(), right.diff()[:1].expand(499), atol=1e-6, rtol=0)
    elsewhere = torch.roll(images, (-7, 5), dims=(2, 3))
    torch.testing.assert_close(
        draw_affnist_matrices(elsewhere, drawn)[:, :, 2], torch.stack([right - 5, down + 7], dim=1)
    )


def test_what_is_too_large_after_its_warp_is_centred() -> None:
    drawn = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.1, 0.9]])
    translation = draw_affnist_matrices(torch.ones(1, 1, 40, 40), drawn)[:, :, 2]
    torch.testing.assert_close(translation, torch.zeros(1, 2, dtype=torch.float64))


def test_an_image_without_ink_stays_without() -> None:
    blank = torch.zeros(1, 1, 40, 40)
    assert torch.equal(warp_images(blank, draw_affnist_matrices(blank, uniform(1, 6))), blank)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_an_image_is_warped_to_the_same_bits_whatever_the_batch(size: int) -> None:
    train = Images(strokes(64), torch.zeros(64, dtype=torch.int64))

    def epoch(batch_size: int) -> Tensor:
        augmented = Augmented(train, (Warp(),), torch.Generator().manual_seed(1))
        return torch.cat([augmented.build_batch(which).images for which in torch.arange(64).split(batch_size)])

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
    expected = warp_images(images, draw_affnist_matrices(images, drawn))
    assert torch.equal(result.images, expected)
    for k in range(objects):
        assert torch.equal(result.targets[:, k], warp_images(alone[:, k], draw_affnist_matrices(images, drawn)))
    whole = Warp()(Batch(images, labels, images), drawn, Images(images, labels))
    assert whole.targets is not None
    assert torch.equal(whole.targets, whole.images)


def test_the_meta_device_has_shapes() -> None:
    images = torch.empty(4, 3, 28, 20, device="meta")
    assert warp_images(images, draw_affnist_matrices(images, torch.empty(4, 6, device="meta"))).shape == images.shape


def homographies(count: int, seed: int, tilt: float = 0.03) -> Tensor:
    """Random ones ``[count, 3, 3]``, of images of about 20 pixels."""
    drawn = 2 * uniform(count, 3, 3, seed=seed) - 1
    most = torch.tensor([[0.4, 0.4, 3], [0.4, 0.4, 3], [tilt, tilt, 0]], dtype=torch.float64)
    return torch.eye(3, dtype=torch.float64) + most * drawn


def sampled(image: np.ndarray, homography: np.ndarray, outside: str) -> np.ndarray:
    """What `warp_images` says of one image ``[H, W]``, written out pixel by pixel."""
    height, width = image.shape
    result = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            x, y = column - (width - 1) / 2, row - (height - 1) / 2
            source = np.linalg.solve(homography, [x, y, 1])
            if source[2] <= 0:  # the point (x, y, 1) would have to come from behind
                continue
            from_column, from_row = source[:2] / source[2] + [(width - 1) / 2, (height - 1) / 2]
            for r in (math.floor(from_row), math.floor(from_row) + 1):
                for c in (math.floor(from_column), math.floor(from_column) + 1):
                    weight = (1 - abs(from_row - r)) * (1 - abs(from_column - c))
                    if outside == "border":
                        result[row, column] += weight * image[min(max(r, 0), height - 1), min(max(c, 0), width - 1)]
                    elif 0 <= r < height and 0 <= c < width:
                        result[row, column] += weight * image[r, c]
    return result


@pytest.mark.parametrize("outside", ["zeros", "border"])
@pytest.mark.parametrize("shape", [(13, 13), (8, 16), (20, 11)])
def test_a_homography_sends_points_where_its_definition_says(shape: tuple[int, int], outside: Outside) -> None:
    images, matrices = uniform(4, 2, *shape), homographies(4, seed=1)
    found = warp_images(images, matrices, outside)
    for i in range(4):
        for channel in range(2):
            expected = sampled(images[i, channel].numpy(), matrices[i].numpy(), outside)
            np.testing.assert_allclose(found[i, channel].numpy(), expected, atol=1e-9)


def test_what_is_behind_the_viewer_is_not_seen() -> None:
    images, matrices = uniform(3, 1, 15, 15) + 1, homographies(3, seed=2, tilt=0.4)
    found = warp_images(images, matrices)
    for i in range(3):
        expected = sampled(images[i, 0].numpy(), matrices[i].numpy(), "zeros")
        np.testing.assert_allclose(found[i, 0].numpy(), expected, atol=1e-8)
    horizon = np.linalg.inv(matrices.numpy())[:, 2]
    corners = np.array([[x, y, 1] for x in (-7, 7) for y in (-7, 7)])
    assert ((horizon @ corners.T) < 0).any()  # so that there was something to be left out


def test_a_homography_is_torchvisions_perspective() -> None:
    images, (matrix,) = uniform(1, 1, 24, 24).float(), homographies(1, seed=5, tilt=0.01)
    # torchvision counts from the corner of the first pixel
    start = [[0, 0], [24, 0], [24, 24], [0, 24]]
    goes = (matrix.numpy() @ np.array([[x - 12, y - 12, 1] for x, y in start]).T).T
    end = [[x / depth + 12, y / depth + 12] for x, y, depth in goes]
    expected = torchvision.perspective(images, start, end, InterpolationMode.BILINEAR)
    torch.testing.assert_close(warp_images(images, matrix[None]), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_affine_homography_is_its_matrix_whatever_its_scale(dtype: torch.dtype) -> None:
    images, matrix = (
        uniform(5, 2, 28, 21).to(dtype),
        draw_affnist_matrices(uniform(5, 1, 28, 21), uniform(5, 6, seed=8)),
    )
    homography = torch.cat([matrix, torch.tensor([0.0, 0.0, 1.0]).expand(5, 1, 3)], dim=1)
    assert torch.equal(warp_images(images, homography), warp_images(images, matrix))
    assert torch.equal(warp_images(images, 4 * homography), warp_images(images, matrix))


def test_edges_go_on_where_that_is_asked_for() -> None:
    images = torch.tensor([[[[1.0, 2.0, 5.0], [3.0, 4.0, 7.0]]]])
    found = warp_images(images, matrices(right=2, down=-1), "border")
    assert torch.equal(found, torch.tensor([[[[3.0, 3.0, 3.0], [3.0, 3.0, 3.0]]]]))
    assert torch.equal(warp_images(images, matrices(), "border"), images)


NAMES = list(FAMILIES)
SINGLE, GROUPS = NAMES[:4], NAMES[4:]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outside", ["zeros", "border"])
@pytest.mark.parametrize("name", NAMES)
def test_level_0_of_a_family_changes_no_bit(name: str, outside: Outside, dtype: torch.dtype) -> None:
    for side in (8, 28, 40):
        images = uniform(6, 2, side, side).to(dtype)
        matrices = FAMILIES[name].build_homographies(uniform(6, DRAWS, seed=1), 0.0, side, side)
        assert torch.equal(warp_images(images, matrices, outside), images)


def amounts(name: str, level: float, height: int = 20, width: int = 30, count: int = 400) -> Tensor:
    return FAMILIES[name].build_homographies(uniform(count, DRAWS, seed=9), level, height, width)


def test_rotation_turns_by_its_level_to_either_side() -> None:
    found = amounts("rotation", 30.0)
    half, root = 0.5, math.sqrt(0.75)
    counter_clockwise = torch.tensor([[root, half, 0], [-half, root, 0], [0, 0, 1]], dtype=torch.float64)
    left = found[:, 0, 1] > 0
    assert 150 < left.sum() < 250
    torch.testing.assert_close(found[left], counter_clockwise.expand(int(left.sum()), 3, 3), atol=1e-9, rtol=0)
    torch.testing.assert_close(found[~left], counter_clockwise.T.expand(int((~left).sum()), 3, 3), atol=1e-9, rtol=0)


def test_translation_is_as_long_as_its_level_in_all_directions_by_whole_pixels() -> None:
    found = amounts("translation", 0.1)
    x, y = found[:, :2, 2].T
    # Within half a pixel along both axes of the ellipse with half axes of a tenth of the width and the height
    angle = 2 * math.pi * uniform(400, DRAWS, seed=9)[:, 1]
    assert max((x - 3 * angle.cos()).abs().max(), (y - 2 * angle.sin()).abs().max()) <= 0.5
    assert torch.equal(found, found.round())
    assert {*x.tolist()} == {-3, -2, -1, 0, 1, 2, 3}
    quarters = torch.stack([(x > 0) & (y > 0), (x > 0) & (y < 0), (x < 0) & (y > 0), (x < 0) & (y < 0)])
    assert quarters.sum(dim=1).min() > 40
    assert torch.equal(found[:, :2, :2], torch.eye(2, dtype=torch.float64).expand(400, 2, 2))


def test_scale_makes_larger_or_smaller_by_the_same_factor() -> None:
    found = amounts("scale", 0.25)
    factors = {round(float(matrix[0, 0]), 12) for matrix in found}
    assert factors == {1.25, 0.8}
    factor = found[:, 0, 0]
    torch.testing.assert_close(found, torch.diag_embed(torch.stack([factor, factor, torch.ones_like(factor)], dim=1)))


def test_shear_moves_by_its_level_for_each_pixel_down() -> None:
    found = amounts("shear", 0.3)
    assert {round(float(matrix[0, 1]), 12) for matrix in found} == {0.3, -0.3}
    found[:, 0, 1] = 0
    torch.testing.assert_close(found, torch.eye(3, dtype=torch.float64).expand(400, 3, 3))


def product(parameters: list[float], height: int, width: int) -> np.ndarray:
    """The warp of parameters, as the product of one matrix each."""
    degrees, right, down, scale, shear, stretch, tilt_x, tilt_y = parameters
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    move = np.array([[1, 0, right * width], [0, 1, down * height], [0, 0, 1]])
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    lean = np.array([[1, shear, 0], [0, 1, 0], [0, 0, 1]])
    size = np.diag([math.exp(scale) * math.exp(stretch), math.exp(scale) / math.exp(stretch), 1])
    tilt = np.array([[1, 0, 0], [0, 1, 0], [tilt_x / (width / 2), tilt_y / (height / 2), 1]])
    return move @ turn @ lean @ size @ tilt


@pytest.mark.parametrize(("name", "parameters"), list(zip(GROUPS, [3, 4, 6, 8], strict=True)))
@pytest.mark.parametrize("level", [0.25, 1.0])
def test_a_group_draws_its_parameters_uniformly_and_has_no_others(name: str, parameters: int, level: float) -> None:
    found = amounts(name, level)
    for matrix, drawn in zip(found, uniform(400, DRAWS, seed=9).tolist(), strict=True):
        each = [level * most * (2 * u - 1) for most, u in zip(RANGES, drawn, strict=True)]
        expected = product([*each[:parameters], *[0.0] * (8 - parameters)], 20, 30)
        np.testing.assert_allclose(matrix.numpy(), expected, atol=1e-9)


def test_families_leave_every_pixel_in_front_of_the_viewer() -> None:
    for ends in range(4):
        extreme = torch.tensor([[0.0] * 6 + [float(ends % 2), float(ends // 2)]], dtype=torch.float64)
        depth = FAMILIES["projective"].build_homographies(extreme, 1.0, 28, 28)[0, 2]
        corners = torch.tensor([[x, y, 1.0] for x in (-14, 14) for y in (-14, 14)], dtype=torch.float64)
        assert (corners @ depth).min() > 0.3


def test_a_translation_blurs_nothing() -> None:
    images = uniform(30, 1, 28, 28).float()
    matrices = FAMILIES["translation"].build_homographies(uniform(30, DRAWS, seed=3), 0.19, 28, 28)
    for image, found, matrix in zip(images, warp_images(images, matrices), matrices, strict=True):
        right, down = (int(pixels) for pixels in matrix[:2, 2])
        rolled = torch.roll(image, (down, right), dims=(1, 2))
        rolled[:, slice(0, down) if down >= 0 else slice(down, None)] = 0
        rolled[:, :, slice(0, right) if right >= 0 else slice(right, None)] = 0
        assert torch.equal(found, rolled)


def test_no_parameters_are_the_identity() -> None:
    identity = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    assert torch.equal(compose_homographies(torch.zeros(2, DRAWS)), identity)
