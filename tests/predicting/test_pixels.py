"""Images of any kind become tensors of a network's channels."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from capsbench.errors import Kind, UsageError
from capsbench.predicting.pixels import draw_pixels, read_pixels

LEVELS = np.array([[0, 51, 102], [153, 204, 255]], dtype=np.uint8)
GREY = torch.tensor([[[0.0, 0.2, 0.4], [0.6, 0.8, 1.0]]])


def save(path, image, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    "image",
    [
        LEVELS,
        LEVELS[:, :, None],
        (LEVELS / 255).astype(np.float32),
        LEVELS / 255,
        LEVELS.astype(np.uint16) * 257,
        np.asfortranarray(LEVELS),
        torch.from_numpy(LEVELS),
        torch.from_numpy(LEVELS)[None],
        GREY,
        GREY.double(),
        Image.fromarray(LEVELS),
        Image.fromarray(LEVELS.astype(np.uint16) * 257),
        Image.fromarray(LEVELS.astype(np.float32) / 255),
        Image.fromarray(np.stack([LEVELS] * 3, axis=2)),
        Image.fromarray(LEVELS).convert("P"),
    ],
    ids=lambda image: f"{type(image).__name__} {getattr(image, 'dtype', getattr(image, 'mode', ''))}",
)
def test_a_grey_image_of_any_kind_has_the_same_pixels(image):
    torch.testing.assert_close(read_pixels(image, 1), GREY, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.gif", "a.webp"])
def test_a_file_without_loss_has_the_pixels_of_the_image(tmp_path, name):
    path = save(tmp_path / name, Image.fromarray(LEVELS), **({"lossless": True} if name == "a.webp" else {}))
    for place in (path, str(path)):
        torch.testing.assert_close(read_pixels(place, 1), GREY, rtol=0, atol=1e-6)


def test_a_png_of_16_bits_is_scaled_by_its_own_range(tmp_path):
    path = save(tmp_path / "deep.png", Image.fromarray(LEVELS.astype(np.uint16) * 257))
    torch.testing.assert_close(read_pixels(path, 1), GREY, rtol=0, atol=1e-6)


def test_an_image_of_bits_is_0_and_1():
    bits = Image.fromarray(LEVELS > 128)
    for image in (bits, np.asarray(bits), torch.from_numpy(np.asarray(bits).copy())):
        assert read_pixels(image, 1).tolist() == [[[0, 0, 0], [1, 1, 1]]]


def test_grey_becomes_three_equal_channels_and_colours_become_grey_by_luma():
    assert torch.equal(read_pixels(LEVELS, 3), read_pixels(LEVELS, 1).repeat(3, 1, 1))
    colours = np.zeros((1, 3, 3), dtype=np.uint8)
    colours[0, range(3), range(3)] = 255
    grey = read_pixels(colours, 1)
    torch.testing.assert_close(grey, torch.tensor([[[0.299, 0.587, 0.114]]]))
    torch.testing.assert_close(grey, read_pixels(Image.fromarray(colours).convert("L"), 1), rtol=0, atol=0.003)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white_as_in_a_folder_of_images(mode):
    image = Image.fromarray(LEVELS).convert(mode)
    image.putalpha(Image.fromarray(np.array([[255, 255, 255], [0, 0, 255]], dtype=np.uint8)))
    expected = torch.tensor([[[0.0, 0.2, 0.4], [1.0, 1.0, 1.0]]])
    torch.testing.assert_close(read_pixels(image, 1), expected, rtol=0, atol=0.005)


def test_a_photograph_is_turned_as_the_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    path = save(tmp_path / "turned.png", Image.fromarray(LEVELS), exif=exif)
    assert read_pixels(path, 1).shape == (1, 3, 2)


def test_two_channels_are_a_stereo_pair_and_nothing_else():
    pair = torch.rand(2, 4, 4)
    assert torch.equal(read_pixels(pair, 2), pair)
    with pytest.raises(UsageError) as caught:
        read_pixels(LEVELS, 2)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "IMAGE", "1 channels")


@pytest.mark.parametrize(
    ("image", "value"),
    [
        (np.zeros((1, 2, 3, 4, 5)), "float64 [1, 2, 3, 4, 5]"),
        (np.zeros((3, 28, 28)), "float64 [3, 28, 28]"),
        (np.zeros((4, 4), dtype=np.int64), "int64"),
        (np.array([["a", "b"]]), None),
        (np.zeros((0, 4), dtype=np.uint8), [1, 0, 4]),
        (torch.zeros(2, 2, dtype=torch.complex64), "complex64"),
        (torch.zeros(4), "float32 [4]"),
        (7, "int"),
        (None, "NoneType"),
    ],
    ids=str,
)
def test_anything_else_is_refused_with_what_it_is(image, value):
    with pytest.raises(UsageError) as caught:
        read_pixels(image, 1)
    assert (caught.value.kind, caught.value.flag) == (Kind.INVALID, "IMAGE")
    assert value is None or caught.value.value == value
    assert "\n" not in str(caught.value)


def broken(path):
    content = save(path, Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))).read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda path: None, Kind.MISSING),
        (lambda path: path.mkdir(), Kind.INACCESSIBLE),
        (lambda path: path.write_text("no image"), Kind.DAMAGED),
        (lambda path: path.write_bytes(b""), Kind.DAMAGED),
        (broken, Kind.DAMAGED),
    ],
    ids=["missing", "folder", "text", "empty", "broken"],
)
def test_a_file_that_is_no_image_is_named(tmp_path, make, kind):
    path = tmp_path / "image.png"
    make(path)
    with pytest.raises(UsageError) as caught:
        read_pixels(path, 1)
    assert (caught.value.kind, caught.value.file) == (kind, path)
    assert "\n" not in str(caught.value)
    assert "BytesIO" not in str(caught.value)


def test_an_image_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "large.png", Image.fromarray(np.zeros((20, 20), dtype=np.uint8)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)
    with pytest.raises(UsageError) as caught:
        read_pixels(path, 1)
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, path)


def test_a_picture_for_a_notebook_has_its_own_black_and_white_if_it_is_standardised():
    colours = torch.tensor([-2.0, 0.0, 2.0]).view(3, 1, 1).expand(3, 200, 150)
    shot = draw_pixels("image", colours)
    assert np.asarray(Image.open(BytesIO(shot.content)))[0, 0].tolist() == [0, 128, 255]
    assert shot.width == 150  # large enough
    assert np.asarray(Image.open(BytesIO(draw_pixels("flat", torch.full((2, 4, 4), 0.5)).content))).min() == 128
