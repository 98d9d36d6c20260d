"""Each corruption beside what its authors' public code makes of the same image.

``public_code.npz`` has the results of github.com/hendrycks/robustness (make_cifar_c.py, ca360085) and
github.com/google-research/mnist-c (corruptions.py, aa075693), run with scikit-image 0.26, OpenCV 5.0, Pillow 13 and SciPy 1.17:

- NumPy's global generator was seeded with 100 + severity, and 7 for MNIST-C.
- scikit-image's `multichannel`, its affine matrix with a shear and its salt and pepper were those of the versions of then.
- ImageMagick's motion blur was the function of the package imagecorruptions 1.1.2.
- `glass_blur` of MNIST-C was given the numbers that are drawn at once here, in their order.

Of CIFAR-10-C it has a part of each image, ``[5, 12, 12, 3]``.
"""

from pathlib import Path

import numpy as np
import pytest

from capsbench.measures.corruption import cifar10_c, mnist_c
from capsbench.measures.corruption.filters import blur_motion, draw_plasma, warp

PUBLIC = np.load(Path(__file__).parent / "public_code.npz")


def colour_image(severity):
    """Bands of colours, a black patch at a smooth place and a white one."""
    row, column, channel = np.mgrid[:32, :32, :3]
    image = np.abs((row * 7 * (severity + 1) + column * 11 + channel * 90) % 510 - 255)
    image[4:9, 10:14] = 0
    image[20:24, 3:9] = 255
    return image / 255


def ring():
    row, column = np.mgrid[:28, :28]
    return np.clip(255 - 12 * np.abs((row - 13) ** 2 + (column - 14) ** 2 - 36), 0, 255) / 255


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("name", cifar10_c.CORRUPTIONS)
def test_a_colour_image_is_corrupted_as_by_the_public_code(name, severity):
    made = cifar10_c.corrupt_image(colour_image(severity), name, severity, np.random.RandomState(100 + severity))
    apart = np.abs(255 * made[:12, 4:16] - PUBLIC[f"cifar10_c.{name}"][severity - 1])
    assert apart.max() <= 1.01  # a cast to bytes of 16.9999 and of 17 differs by a level
    assert (apart > 0.01).mean() <= (0.6 if name == "defocus_blur" else 0.05)


@pytest.mark.parametrize("name", mnist_c.CORRUPTIONS)
def test_a_grey_image_is_corrupted_as_by_the_public_code(name):
    made = mnist_c.corrupt_image(ring(), name, 0, np.random.RandomState(7))
    assert np.abs(255 * made - PUBLIC[f"mnist_c.{name}"]).max() <= 0.501  # those are rounded to bytes


def test_every_corruption_of_the_benchmarks_is_applied_or_left_out_by_name():
    assert {name.split(".")[1] for name in PUBLIC.files if name.startswith("cifar10_c")} == set(cifar10_c.CORRUPTIONS)
    for module in (cifar10_c, mnist_c):
        assert len({*module.CORRUPTIONS, *module.LEFT_OUT}) == 15
        assert not module.CORRUPTIONS.keys() & module.LEFT_OUT.keys()


@pytest.mark.parametrize("module", [cifar10_c, mnist_c])
def test_corruptions_leave_their_image_as_it_was_and_end_in_0_to_1(module):
    image = colour_image(1) if module is cifar10_c else ring()
    before = image.copy()
    for name in module.CORRUPTIONS:
        made = module.corrupt_image(image, name, 5, np.random.RandomState(0))
        assert made.shape == image.shape
        assert 0 <= made.min() <= made.max() <= 1
        assert not np.array_equal(made, image)
    assert np.array_equal(image, before)


def test_a_black_image_is_corrupted_too():
    for module, image in ((cifar10_c, np.zeros((32, 32, 3))), (mnist_c, np.zeros((28, 28)))):
        made = [module.corrupt_image(image, name, 3, np.random.RandomState(0)) for name in module.CORRUPTIONS]
        assert np.isfinite(made).all()


# Filters


def test_motion_along_the_columns_of_a_step_is_a_running_mean():
    image = np.repeat((np.arange(9) >= 4)[np.newaxis].astype(float), 3, axis=0)
    weights = np.exp(-(np.arange(5) ** 2) / 2)
    moved = blur_motion(image, 2, 1.0, 0.0)
    assert moved[1, :5] == pytest.approx([weights[4 - place :].sum() / weights.sum() for place in range(5)])


def test_a_warp_by_whole_pixels_moves_them_and_is_0_outside():
    image = np.random.RandomState(0).rand(5, 5)
    moved = warp(image, np.eye(2), [1, -2])  # from one to the right, and two up
    assert moved[2:, :4] == pytest.approx(image[:3, 1:])
    assert (moved[:2].max(), moved[:, 4].max()) == (0, 0)


def test_plasma_is_smoother_with_a_larger_decay():
    rough, smooth = (np.abs(np.diff(draw_plasma(32, decay, np.random.RandomState(0)))).mean() for decay in (1.2, 3))
    assert smooth < rough / 2
