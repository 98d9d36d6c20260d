"""The pictures of a report: all there is data for, and why there is none of the others."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from capsbench.reporting import drawing
from capsbench.reporting.drawing import begin
from capsbench.reporting.files import image
from capsbench.reporting.picture import Picture
from capsbench.reporting.section import Material
from capsbench.reporting.sections import PICTURES
from capsbench.store import Record, Store

Make = Callable[..., Record]


@pytest.fixture
def material(capsules: Make, tmp_path: Path) -> Material:
    """Of a contender whose speed was not measured."""
    return Material.of([capsules(0.97, None)], Store(tmp_path))


def test_a_picture_without_data_is_left_out_and_it_is_said_why(material: Material) -> None:
    made, lacking = begin(PICTURES, material, ["svg"])()
    assert list(made) == ["accuracy-iterations", "training-curves"]
    assert list(lacking) == ["accuracy-cost"]
    assert "speed" in lacking["accuracy-cost"]
    assert all(list(image.files) == ["svg"] for image in made.values())


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_the_pictures_are_the_same_on_any_number_of_cores(
    material: Material, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "cores", lambda: cores)
    made, lacking = begin(PICTURES, material, ["png", "svg"])()
    assert made == {name: image(PICTURES[name](material), ["png", "svg"]) for name in made}
    assert [*made, *lacking] == ["accuracy-iterations", "training-curves", "accuracy-cost"]


def test_a_picture_whose_copy_dies_is_drawn_here(material: Material) -> None:
    first = os.getpid()

    def draw(material: Material) -> Picture:
        if os.getpid() != first:
            os._exit(9)
        return PICTURES["training-curves"](material)

    made, lacking = begin({"deadly": draw, **PICTURES}, material, ["svg"])()
    assert list(made) == ["deadly", "accuracy-iterations", "training-curves"]
    assert list(lacking) == ["accuracy-cost"]


def test_without_a_format_nothing_is_drawn(material: Material) -> None:
    def draw(material: Material) -> None:
        os._exit(1)

    assert begin({"never": draw}, material, [])() == ({}, {})
