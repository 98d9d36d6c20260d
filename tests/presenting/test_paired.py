"""Differences between contenders, image by image where predictions are on record."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from capsbench.errors import ArgumentError
from capsbench.presenting.paired import Pairs, nothing_kept
from capsbench.records.artifacts import are_correct

LABELS = np.array([0, 1, 2, 3], dtype=np.int32)


def _kept(predictions: dict[str, list[int]]) -> Pairs:
    def kept(measure: str, cell: str) -> dict[str, NDArray[Any]]:
        assert measure == "accuracy"
        if cell not in predictions:
            return {}
        return {"label": LABELS, "prediction": np.array(predictions[cell], dtype=np.int32)}

    return Pairs(kept)


def test_with_predictions_on_record_images_count() -> None:
    pairs = _kept({"a": [0, 1, 2, 3], "b": [0, 1, 0, 0]})
    found = pairs.difference({0: "a"}, {0: "b"}, {})
    assert (found.mean, found.seeds, found.images) == (0.5, 1, 4)


def test_only_the_seeds_that_both_have_are_paired() -> None:
    pairs = _kept({"a0": [0, 1, 2, 0], "a1": [0, 1, 2, 3], "b1": [1, 1, 2, 3], "b2": [1, 0, 0, 0]})
    found = pairs.difference({0: "a0", 1: "a1"}, {1: "b1", 2: "b2"}, {})
    assert (found.mean, found.seeds) == (0.25, 1)


def test_without_all_predictions_the_numbers_of_the_seeds_count() -> None:
    accuracy = {"a0": 0.9, "a1": 0.95, "b0": 0.8, "b1": 0.9}
    found = _kept({"a0": [0, 1, 2, 3]}).difference({0: "a0", 1: "a1"}, {0: "b0", 1: "b1"}, accuracy)
    assert found.mean == pytest.approx(0.075)
    assert found.images == 0


def test_other_test_images_are_not_paired() -> None:
    def kept(measure: str, cell: str) -> dict[str, NDArray[Any]]:
        return {"label": LABELS if cell == "a" else LABELS[::-1].copy(), "prediction": LABELS}

    assert Pairs(kept).difference({0: "a"}, {0: "b"}, {"a": 1.0, "b": 0.0}).images == 0


def test_contenders_without_a_common_seed_cannot_be_paired() -> None:
    with pytest.raises(ArgumentError) as caught:
        Pairs(nothing_kept).difference({0: "a"}, {1: "b"}, {})
    assert caught.value.value == ([0], [1])


def test_an_image_of_several_labels_is_right_where_all_are_found() -> None:
    labels = np.array([[2, 1], [3, 5]])
    assert are_correct(np.array([[1, 2], [3, 4]]), labels).tolist() == [True, False]
    assert are_correct(np.array([[[1, 2], [3, 4]], [[1, 2], [3, 5]]]), labels).tolist() == [[True, False], [True, True]]
    assert are_correct(np.array([[0, 1], [1, 1]]), np.array([0, 1])).tolist() == [[True, True], [False, True]]
