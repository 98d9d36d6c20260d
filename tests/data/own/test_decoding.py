"""Image files of every kind become upright pixels, grey or colour."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from capsbench.data.images import ImageShape
from capsbench.data.own.decoding import (
    EXIF_ORIENTATION,
    Fit,
    Size,
    UnreadableError,
    decode_file,
    fit_pixels,
    measure_file,
    parse_size,
    to_pixels,
)
from capsbench.errors import Kind
from tests.data.faults import usage_error

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def save(image: Image.Image, suffix: str = "png", **options: Any) -> bytes:
    """An image file."""
    buffer = BytesIO()
    image.save(buffer, suffix, **options)
    return buffer.getvalue()


def palette(colours: list[tuple[int, int, int]], suffix: str = "png", **options: Any) -> bytes:
    """An image of two pixels, whose colours are the first two of a palette."""
    image = Image.new("P", (2, 1))
    image.putpalette([level for colour in colours for level in colour])
    image.putpixel((1, 0), 1)
    return save(image, suffix, **options)


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tiff", "webp", "ppm"])
def test_grey_images_of_lossless_formats_keep_their_pixels(suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    pixels = decode_file(save(Image.fromarray(RAMP), suffix, **options))
    assert pixels.dtype == np.uint8
    assert (pixels.reshape(3, 4, -1) == RAMP[..., None]).all()


def test_jpeg_has_nearly_its_pixels_and_its_colours() -> None:
    assert np.abs(decode_file(save(Image.fromarray(RAMP), "jpeg", quality=95)).astype(int) - RAMP).max() < 12
    assert measure_file(save(Image.new("RGB", (4, 3)), "jpeg")) == ImageShape(3, 3, 4)
    assert measure_file(save(Image.new("CMYK", (4, 3)), "jpeg")) == ImageShape(3, 3, 4)
    assert decode_file(save(Image.new("CMYK", (4, 3)), "jpeg")).shape == (3, 4, 3)


def test_one_bit_is_black_and_white() -> None:
    assert decode_file(save(Image.fromarray(RAMP > 100))).tolist() == (255 * (RAMP > 100)).tolist()


def test_sixteen_bits_stay() -> None:
    deep = np.array([[0, 1000], [40000, 65535]], dtype=np.uint16)
    pixels = decode_file(save(Image.fromarray(deep)))
    assert pixels.dtype == np.uint16
    assert (pixels == deep).all()
    assert fit_pixels(pixels, 1, Fit()).flatten() == pytest.approx(deep.flatten() / 65535)


def test_what_is_transparent_shows_white() -> None:
    grey = Image.fromarray(np.array([[[10, 255], [10, 0]]], dtype=np.uint8))
    assert (grey.mode, decode_file(save(grey)).tolist()) == ("LA", [[10, 255]])
    colour = Image.fromarray(np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], dtype=np.uint8))
    assert decode_file(save(colour)).tolist() == [[[10, 20, 30], [255, 255, 255]]]
    half = Image.fromarray(np.array([[[0, 0, 0, 128]]], dtype=np.uint8))
    assert decode_file(save(half)).tolist() == [[[127, 127, 127]]]


def test_a_palette_is_looked_up_and_one_of_greys_is_grey() -> None:
    assert decode_file(palette([(9, 8, 7), (1, 2, 3)])).tolist() == [[[9, 8, 7], [1, 2, 3]]]
    assert decode_file(palette([(9, 8, 7), (1, 2, 3)], transparency=1)).tolist() == [[[9, 8, 7], [255, 255, 255]]]
    assert decode_file(palette([(9, 9, 9), (1, 1, 1)])).tolist() == [[9, 1]]
    assert measure_file(palette([(9, 9, 9), (1, 1, 1)])).channels == 1
    assert measure_file(palette([(9, 8, 7), (1, 1, 1)])).channels == 3


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tiff", "tga", "pcx"])
def test_the_palettes_of_all_formats_are_read_before_the_pixels_are(suffix: str) -> None:
    colours, greys = palette([(255, 0, 0), (1, 2, 3)], suffix), palette([(9, 9, 9), (1, 1, 1)], suffix)
    assert (measure_file(colours), measure_file(greys)) == (ImageShape(3, 1, 2), ImageShape(1, 1, 2))
    assert decode_file(colours).tolist() == [[[255, 0, 0], [1, 2, 3]]]
    assert decode_file(greys).tolist() == [[9, 1]]


@pytest.mark.parametrize("suffix", ["jpeg", "png", "webp"])
def test_exif_turns_an_image_upright(suffix: str) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6  # to be turned by 90 degrees clockwise
    pixels = np.zeros((8, 16), dtype=np.uint8)
    pixels[:, :8] = 255  # left of the file, so above in the upright image
    content = save(Image.fromarray(pixels), suffix, exif=exif)
    assert measure_file(content)[1:] == (16, 8)
    upright = decode_file(content).reshape(16, 8, -1)[..., 0]
    assert upright[:7].min() > 200
    assert upright[9:].max() < 50


def test_the_first_image_of_an_animation_counts() -> None:
    frames = [Image.fromarray(RAMP), Image.fromarray(RAMP[::-1].copy())]
    content = save(frames[0], "gif", save_all=True, append_images=frames[1:])
    assert decode_file(content).tolist() == RAMP.tolist()


@pytest.mark.parametrize("content", [b"", b"no image", save(Image.effect_noise((64, 64), 9))[:-1500]])
def test_a_damaged_file_is_unreadable_with_a_reason_in_one_line(content: bytes) -> None:
    with pytest.raises(UnreadableError) as caught:
        decode_file(content)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="no such file"):
        measure_file(tmp_path / "none.png")


@pytest.mark.parametrize("pixels", [np.full((2, 2), 1.5, np.float32), np.full((2, 2), -1, np.int32)])
def test_pixels_out_of_range_are_unreadable(pixels: Any) -> None:
    with pytest.raises(UnreadableError, match="expected"):
        to_pixels(Image.fromarray(pixels))


@pytest.mark.parametrize(
    ("text", "size", "square"),
    [
        ("none", None, None),
        ("64", Size(64, 0), Size(64, 64)),
        ("48x64", Size(48, 64), Size(48, 64)),
    ],
)
def test_sizes_are_a_side_or_height_and_width(text: str, size: Size | None, square: Size | None) -> None:
    assert parse_size("resize", text) == size
    assert parse_size("crop", text, square=True) == square


@pytest.mark.parametrize("text", ["0", "x", "64x", "-3", "1e3", "64x64x3", "5000", "٣", "", "48X64", " 64", "064"])
def test_other_sizes_are_refused(text: str) -> None:
    error = usage_error(parse_size, "resize", text)
    assert (error.kind, error.flag, error.value) == (Kind.INVALID, "resize", text)


def test_one_side_is_the_shorter_and_the_aspect_ratio_stays() -> None:
    assert Fit(Size(10, 0)).fit_size(20, 40) == (10, 20)
    assert Fit(Size(10, 0)).fit_size(40, 20) == (20, 10)
    assert Fit(Size(10, 12)).fit_size(40, 20) == (10, 12)
    assert Fit(Size(10, 0), Size(10, 10)).fit_size(40, 20) == (10, 10)


def test_a_crop_that_is_larger_than_the_image_is_refused() -> None:
    error = usage_error(Fit(None, Size(5, 5)).fit_size, 4, 9)
    assert (error.kind, error.flag, error.value) == (Kind.INVALID, "crop", "5x5")


def test_the_crop_is_the_centre() -> None:
    fitted = fit_pixels(RAMP, 1, Fit(None, Size(1, 2)))
    assert (255 * fitted).round().tolist() == [[[100, 120]]]


def test_resizing_averages_and_keeps_the_range() -> None:
    board = np.indices((8, 8)).sum(0) % 2 * np.uint8(255)
    fitted = fit_pixels(board.astype(np.uint8), 1, Fit(Size(4, 4)))
    assert fitted.shape == (1, 4, 4)
    assert np.abs(fitted - 0.5).max() < 0.05
    floats = fit_pixels(np.ones((8, 8, 2), np.float32), 2, Fit(Size(3, 5)))
    assert floats.shape == (2, 3, 5)
    assert floats.max() <= 1


def test_resizing_drops_no_channel() -> None:
    assert fit_pixels(np.zeros((4, 4, 3), dtype=np.uint8), 1, Fit(resize=Size(2, 2))).shape == (3, 2, 2)


def test_a_grey_image_among_colours_has_three_equal_channels() -> None:
    fitted = fit_pixels(RAMP, 3, Fit())
    assert fitted.shape == (3, 3, 4)
    assert (fitted == fitted[:1]).all()
