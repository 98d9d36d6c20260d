"""The real files, read whole. Each test is skipped where its data set is not in CAPSBENCH_DATA."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from capsbench import registry
from capsbench.data.base import load_splits
from capsbench.data.formats.norb_binary import BYTES, INTEGERS, read_norb
from capsbench.data.images import Splits
from capsbench.data.sets.omniglot import NOVEL_ALPHABETS, TRAINING_ALPHABETS, read_drawings, read_runs
from capsbench.data.sets.smallnorb import COLUMNS
from capsbench.data.sets.smallnorb_jpeg import SmallNORBJPEG
from capsbench.data.sets.usps import USPS
from capsbench.errors import Kind
from tests.data.faults import usage_error
from tests.data.real import classify_by_level, classify_by_neighbours

pytestmark = pytest.mark.slow


@pytest.fixture
def any_sum_will_do() -> None:
    """The sums are checked here."""


def find(name: str) -> Path:
    """The data folder, if it has the files of a data set."""
    folder = os.environ.get("CAPSBENCH_DATA")
    if not folder or any(file.find_in(Path(folder)) is None for file in registry.get("dataset", name).files):
        pytest.skip(f"CAPSBENCH_DATA names no folder with the files of {name}")
    return Path(folder)


def load(name: str) -> Splits:
    return load_splits(name, find(name))


@pytest.mark.parametrize("name", ["coil20", "coil20-halves", "usps", "mnist-to-usps", "omniglot", "notmnist-10k"])
def test_the_declared_counts_are_those_of_the_files(name: str) -> None:
    counts = {part: len(images.labels) for part, images in load(name).by_name().items()}
    assert counts == registry.get("dataset", name)().image_counts


def test_the_digits_of_usps_are_those_of_its_published_counts() -> None:
    splits = load("usps")
    train = splits.train.labels.bincount() + splits.validation.labels.bincount()
    assert train.tolist() == [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]
    assert splits.test.labels.bincount().tolist() == [359, 264, 198, 166, 200, 160, 170, 147, 166, 177]
    assert [int(splits.test.labels[place]) for place in (0, -1)] == [9, 1]
    assert USPS.white == 2000


def test_each_letter_of_notmnist_is_there_as_often() -> None:
    for part, count in {"train": 400, "validation": 100, "test": 500}.items():
        assert load("notmnist-10k").by_name()[part].labels.bincount().tolist() == [count] * 10


def test_omniglot_has_its_242_characters_by_20_people() -> None:
    drawings = read_drawings(find("omniglot"))
    assert drawings.images.shape == (4840, 1, 105, 105)
    alphabets = [alphabet for alphabet, _ in drawings.names]
    assert {name: alphabets.count(name) for name in (*TRAINING_ALPHABETS, *NOVEL_ALPHABETS)} == {
        "Balinese": 24, "Early_Aramaic": 22, "Greek": 24, "Korean": 40, "Latin": 26,
        "Japanese_(katakana)": 47, "Sanskrit": 42, "Tagalog": 17,
    }  # fmt: skip
    assert drawings.characters.bincount().tolist() == [20] * 242
    assert drawings.drawers.bincount().tolist() == [0] + [242] * 20


def test_the_one_shot_runs_have_the_published_error_of_a_simple_classifier() -> None:
    """The authors' demo, the modified Hausdorff distance between centred ink, errs in 38.8 % of the queries."""
    wrong = []
    for run in read_runs(find("omniglot")):
        queries, examples = ([centre_ink(image) for image in images] for images in (run.queries, run.examples))
        nearest = [int(np.argmin([measure_hausdorff(query, other) for other in examples])) for query in queries]
        wrong += [guess != answer for guess, answer in zip(nearest, run.answers.tolist(), strict=True)]
    assert len(wrong) == 400
    assert np.mean(wrong) == pytest.approx(0.388, abs=0.001)


def centre_ink(image: torch.Tensor) -> np.ndarray:
    """The places of ink ``[N, 2]``, their mean at 0."""
    places = np.argwhere(image[0].numpy() > 0.5).astype(float)
    centred: np.ndarray = places - places.mean(axis=0)
    return centred


def measure_hausdorff(first: np.ndarray, second: np.ndarray) -> float:
    distances = cdist(first, second)
    return float(max(distances.min(axis=0).mean(), distances.min(axis=1).mean()))


def read_copy() -> dict[str, Any]:
    """Part -> views, labels, mean grey of both cameras ``[N, 2]`` and that of the top 8 rows of the left one, a background."""
    folder, parts = find("smallnorb-jpeg"), {}
    for part, files in {"train": SmallNORBJPEG.files[:3], "test": SmallNORBJPEG.files[3:]}.items():
        paths = [folder / file.path for file in files]
        pairs = read_norb(paths[0], BYTES, (24_300, 2, 96, 96))
        chunks = [pairs[start : start + 500].astype(np.float32) for start in range(0, 24_300, 500)]
        parts[part] = (
            read_norb(paths[2], INTEGERS, (24_300, len(COLUMNS))),
            read_norb(paths[1], INTEGERS, (24_300,)).astype(int),
            np.concatenate([chunk.mean(axis=(2, 3)) for chunk in chunks]),
            np.concatenate([chunk[:, 0, :8].mean(axis=(1, 2)) for chunk in chunks]),
        )
    return parts


def test_what_the_grey_of_the_copy_of_smallnorb_tells_without_any_shape() -> None:
    """The numbers are those of docs/data-sets.md."""
    (views, labels, grey, background), (test_views, test_labels, test_grey, test_background) = read_copy().values()
    accuracies: dict[str, list[float]] = {}
    for split, column in (("", 0), ("-azimuth", 2), ("-elevation", 1)):
        familiar = registry.get("dataset", f"smallnorb-jpeg{split}").familiar.get(list(COLUMNS)[column])
        seen, known = (
            np.isin(rows[:, column], familiar) if familiar else np.ones(len(rows), bool) for rows in (views, test_views)
        )
        one = classify_by_level(grey[seen, 0], labels[seen], test_grey[:, 0]) == test_labels
        two = classify_by_neighbours(grey[seen], labels[seen], test_grey) == test_labels
        parts = {"familiar": known, "novel": ~known} if familiar else {"test": known}
        accuracies |= {
            f"{split} {part}".strip(): [one[which].mean(), two[which].mean()] for part, which in parts.items()
        }
    percent = {name: [round(100 * float(share), 1) for share in shares] for name, shares in accuracies.items()}
    assert percent == {
        "test": [27.0, 37.4],
        "-azimuth familiar": [26.4, 35.6],
        "-azimuth novel": [27.3, 35.1],
        "-elevation familiar": [29.0, 36.5],
        "-elevation novel": [21.7, 29.7],
    }
    told = {
        name: float((classify_by_level(background, views[:, column], test_background) == test_views[:, column]).mean())
        for name, column in (("elevation", 1), ("lighting", 3))
    }
    assert {name: round(100 * share) for name, share in told.items()} == {"elevation": 62, "lighting": 94}


def test_the_copy_is_not_read_as_smallnorb() -> None:
    error = usage_error(load_splits, "smallnorb", find("smallnorb-jpeg"))
    assert error.kind is Kind.DAMAGED
    assert "smallnorb-jpeg" in error.problem


def test_what_the_grey_of_coil_20_tells_without_any_shape() -> None:
    """The numbers are those of docs/data-sets.md."""
    percent = {}
    for name in ("coil20", "coil20-halves"):
        splits = load(name)
        grey = splits.train.images.double().mean(dim=(1, 2, 3))
        for part in ("familiar", "test"):
            images, labels = splits.by_name()[part]
            nearest = (grey[:, None] - images.double().mean(dim=(1, 2, 3))).abs().argmin(dim=0)
            right = splits.train.labels[nearest] == labels
            percent[name, part] = round(100 * float(right.double().mean()), 1)
    assert percent == {
        ("coil20", "familiar"): 35.8,
        ("coil20", "test"): 29.9,
        ("coil20-halves", "familiar"): 32.8,
        ("coil20-halves", "test"): 26.7,
    }
