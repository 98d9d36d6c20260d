"""The viewpoint measure on a small smallNORB in the published layout, by a classifier that fails where it is told to."""

import itertools
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from capsbench.data.base import load_splits
from capsbench.data.files import DataFile
from capsbench.data.sets.smallnorb import SmallNORB
from capsbench.measures import Subject
from capsbench.measures.viewpoint.measure import Viewpoint

SETS = {"46789x9x18x6x2x96x96-training": (4, 6, 7, 8, 9), "01235x9x18x6x2x96x96-testing": (0, 1, 2, 3, 5)}
ELEVATIONS, AZIMUTHS = (1, 2, 3, 8), (0, 6, 28, 30)
FAMILIAR = {"smallnorb-azimuth": {0, 30}, "smallnorb-elevation": {1, 2}}


def painted(label: int, elevation: int, azimuth: int) -> np.ndarray:
    """A stereo pair that tells its class by the height of a bar, and by three spots from where it was seen."""
    pair = np.zeros((2, 96, 96), dtype=np.uint8)
    pair[:, 20 + 10 * label : 26 + 10 * label, 20:40] = 255
    for column, value in ((46, elevation), (56, azimuth), (66, 30)):
        pair[:, 40:48, column : column + 6] = 8 * value
    return pair


def write_matrix(path: Path, array: np.ndarray) -> None:
    """Writes a file as https://cs.nyu.edu/~ylclab/data/norb-v1.0-small describes it."""
    sizes = [*array.shape, 1, 1][: max(3, array.ndim)]
    magic = 0x1E3D4C55 if array.dtype == np.uint8 else 0x1E3D4C54
    content = struct.pack(f"<{2 + len(sizes)}i", magic, array.ndim, *sizes)
    path.write_bytes(content + (array if array.dtype == np.uint8 else array.astype("<i4")).tobytes())


@pytest.fixture(autouse=True)
def any_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of this test have other sizes than the published ones."""
    monkeypatch.setattr(DataFile, "check_content", lambda file, path: None)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with both sets, 400 images each."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "smallNORB").mkdir()
    for name, toys in SETS.items():
        views = np.array(list(itertools.product(range(5), toys, ELEVATIONS, AZIMUTHS, [3])))
        images = np.stack([painted(label, elevation, azimuth) for label, _, elevation, azimuth, _ in views])
        for kind, array in {"dat": images, "cat": views[:, 0], "info": views[:, 1:]}.items():
            write_matrix(folder / "smallNORB" / f"smallnorb-5x{name}-{kind}.mat", array)
    return folder


class Fails(nn.Module):
    """Reads the class, but names another for class 4, and for class 3 as well where it does not know the viewpoint."""

    def __init__(self, column: int, familiar: set[int]) -> None:
        super().__init__()
        self.column, self.familiar = column, familiar

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        grey = images[:, 0]
        labels = torch.stack([grey[:, 2 + 5 * label : 5 + 5 * label, 2:12].mean(dim=(1, 2)) for label in range(5)], 1)
        labels = labels.argmax(dim=1)
        # Standardised greys to the values painted: black is 0, and the last spot 30.
        black, last = grey[:, 0, 0], grey[:, 14, 26]
        shown = (30 * (grey[:, 14, self.column] - black) / (last - black)).round().long()
        known = torch.stack([shown == value for value in self.familiar]).any(dim=0)
        fails = (labels == 4) | ((labels == 3) & ~known)
        return torch.eye(5)[torch.where(fails, 0, labels)]


@pytest.mark.parametrize(("name", "column"), [("smallnorb-azimuth", 21), ("smallnorb-elevation", 16)])
def test_errors_on_familiar_and_novel_viewpoints(monkeypatch, make_cell, published, name, column):
    monkeypatch.setattr(SmallNORB, "count", 400)
    data = load_splits(name, published)
    kept: dict[str, torch.Tensor] = {}
    network = Fails(column, FAMILIAR[name])
    rows = Viewpoint()(Subject(make_cell(dataset=name), network, data, kept.update, lambda measure: {}))
    values = {row.condition: row.value for row in rows if row.metric == "error"}
    assert values == pytest.approx({"familiar": 0.2, "novel": 0.4, "difference": 0.2, "ratio": 2.0})
    assert {(row.measure, row.metric) for row in rows} == {("viewpoint", "error"), ("viewpoint", "accuracy")}
    column = name.removeprefix("smallnorb-")
    degrees = {
        value: 10.0 * value if column == "azimuth" else 30.0 + 5 * value
        for value in {"azimuth": AZIMUTHS, "elevation": ELEVATIONS}[column]
    }
    by_angle = {row.level: row.value for row in rows if (row.metric, row.condition) == ("accuracy", column)}
    assert by_angle == {degrees[value]: pytest.approx(0.8 if value in FAMILIAR[name] else 0.6) for value in degrees}
    other = "elevation" if column == "azimuth" else "azimuth"
    assert [row.value for row in rows if row.condition == other] == pytest.approx([0.7] * 4)
    assert {row.condition: row.unit for row in rows}["ratio"] == "ratio"
    for part, error in (("familiar", 0.2), ("novel", 0.4)):
        wrong = kept[f"{part}.label"] != kept[f"{part}.prediction"]
        assert len(wrong) == 200
        assert wrong.double().mean() == error


def test_angles_that_one_part_alone_is_told_of_are_that_parts(monkeypatch, make_cell, published):
    monkeypatch.setattr(SmallNORB, "count", 400)
    data = load_splits("smallnorb-azimuth", published)
    one_sided = replace(
        data, about={"test": data.about["test"], "familiar": {"elevation": data.about["familiar"]["elevation"]}}
    )
    network = Fails(21, FAMILIAR["smallnorb-azimuth"])
    rows = Viewpoint()(
        Subject(make_cell(dataset="smallnorb-azimuth"), network, one_sided, lambda tensors: None, lambda measure: {})
    )
    by_angle = {(row.condition, row.level): row.value for row in rows if row.metric == "accuracy"}
    assert {level: value for (angle, level), value in by_angle.items() if angle == "azimuth"} == {
        60.0: pytest.approx(0.6),
        280.0: pytest.approx(0.6),
    }
    assert [value for (angle, _), value in by_angle.items() if angle == "elevation"] == pytest.approx([0.7] * 4)


def test_without_a_familiar_error_there_is_no_ratio(monkeypatch, make_cell, published):
    monkeypatch.setattr(SmallNORB, "count", 400)
    data = load_splits("smallnorb-azimuth", published)

    class Perfect(Fails):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            bars = [images[:, 0, 2 + 5 * label : 5 + 5 * label, 2:12].mean(dim=(1, 2)) for label in range(5)]
            return torch.stack(bars, dim=1)

    network = Perfect(21, FAMILIAR["smallnorb-azimuth"])
    rows = Viewpoint()(
        Subject(make_cell(dataset="smallnorb-azimuth"), network, data, lambda tensors: None, lambda measure: {})
    )
    errors = {row.condition: row.value for row in rows if row.metric == "error"}
    assert errors == {"familiar": 0.0, "novel": 0.0, "difference": 0.0}


@pytest.mark.parametrize(
    ("dataset", "applies"),
    [
        ("smallnorb-azimuth", True),
        ("smallnorb-elevation", True),
        ("smallnorb-jpeg-azimuth", True),
        ("coil20", True),
        ("coil20-halves", True),
        ("smallnorb", False),
        ("mnist", False),
    ],
)
def test_it_applies_where_viewpoints_are_kept_out_of_training(make_cell, dataset, applies):
    assert Viewpoint.applies_to(make_cell(dataset=dataset)) == applies
