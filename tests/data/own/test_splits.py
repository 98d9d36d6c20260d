from collections.abc import Sequence

import numpy as np
import pytest

from capsbench.data.own.splits import (
    MOST_CLASSES,
    Shares,
    check_classes,
    describe_balance,
    describe_repeated,
    find_part,
    list_some,
    order_classes,
    split_images,
)
from capsbench.errors import Kind
from tests.data.faults import usage_error

SHARES = Shares(0.1, 0.2, 0)
NAMES = ["a", "b"]


def split(labels: Sequence[int], parts: Sequence[str] = (), shares: Shares = SHARES) -> dict[str, list[int]]:
    given = parts or [""] * len(labels)
    return {
        part: indices.tolist() for part, indices in split_images(np.array(labels), given, NAMES, shares, "x").items()
    }


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Train", "train"),
        ("training", "train"),
        ("VAL", "validation"),
        ("dev", "validation"),
        (" test ", "test"),
        ("x", None),
    ],
)
def test_parts_have_several_names(name: str, part: str | None) -> None:
    assert find_part(name) == part


def test_classes_are_in_the_order_of_numbers_or_of_the_alphabet() -> None:
    assert order_classes(["10", "9", "-1", "9"]) == ["-1", "9", "10"]
    assert order_classes(["b", "10", "9"]) == ["10", "9", "b"]


def test_draws_are_stratified_disjoint_and_follow_their_seed() -> None:
    labels = [0] * 60 + [1] * 40
    drawn = split(labels)
    assert sorted(index for part in drawn.values() for index in part) == list(range(100))
    assert {part: np.bincount(np.array(labels)[indices]).tolist() for part, indices in drawn.items()} == {
        "train": [42, 28], "validation": [6, 4], "test": [12, 8],
    }  # fmt: skip
    assert split(labels) == drawn
    assert split(labels, shares=Shares(0.1, 0.2, 1)) != drawn


def test_given_parts_stay_and_only_others_are_drawn() -> None:
    parts = ["train"] * 20 + ["test"] * 4
    drawn = split([0, 1] * 12, parts)
    assert drawn["test"] == [20, 21, 22, 23]
    assert len(drawn["validation"]) == 2
    assert split([0, 1] * 12, ["train"] * 16 + ["test"] * 4 + ["validation"] * 4)["train"] == list(range(16))


def test_three_images_of_a_class_are_enough_and_two_are_not() -> None:
    assert {len(indices) for indices in split([0] * 3 + [1] * 3).values()} == {2}
    error = usage_error(split, [0] * 30 + [1] * 2)
    assert (error.kind, error.flag, error.value) == (Kind.DAMAGED, "dataset", 1)
    assert "b (2)" in error.problem


def test_shares_that_leave_a_class_without_training_images_are_refused() -> None:
    assert usage_error(split, [0] * 40 + [1] * 3, (), Shares(0.4, 0.5, 0)).kind is Kind.CONFLICT


def test_a_class_without_training_images_is_refused() -> None:
    error = usage_error(split, [0, 0, 0, 1], ["train", "train", "train", "test"])
    assert (error.kind, error.value) == (Kind.DAMAGED, 1)


@pytest.mark.parametrize(
    ("shares", "flag"),
    [
        (Shares(0, 0.2, 0), "validation_share"),
        (Shares(0.1, 1, 0), "test_share"),
        (Shares(0.5, 0.5, 0), "test_share"),
        (Shares(0.1, 0.2, -1), "split_seed"),
        (Shares(0.1, 0.2, 2**32), "split_seed"),
    ],
)
def test_shares_and_seeds_out_of_range_are_refused(shares: Shares, flag: str) -> None:
    assert usage_error(shares.check).flag == flag


@pytest.mark.parametrize("count", [0, 1, MOST_CLASSES + 1])
def test_one_class_or_too_many_are_refused(count: int) -> None:
    assert usage_error(check_classes, [str(number) for number in range(count)], "x").value == count


@pytest.mark.parametrize("name", ["", "\udcff", "x" * 1001])
def test_names_that_records_cannot_hold_are_refused(name: str) -> None:
    assert usage_error(check_classes, ["bar", name], "x").value == [name]


def test_two_classes_and_a_thousand_are_fine() -> None:
    check_classes(["a", "b"], "x")
    check_classes([str(number) for number in range(MOST_CLASSES)], "x")


def test_an_imbalance_and_untested_classes_are_told() -> None:
    even = {"train": np.array([0, 1, 0, 1]), "test": np.array([0, 1])}
    assert describe_balance(even, NAMES) == []
    (line,) = describe_balance({**even, "train": np.array([0, 0, 0, 1])}, NAMES)
    assert "3 training images of a" in line
    assert "1 of b" in line
    (line,) = describe_balance({**even, "test": np.array([0])}, NAMES)
    assert line.endswith(" b")


def test_images_of_the_test_that_are_training_images_are_told() -> None:
    split = {"train": np.array([0, 1, 2]), "validation": np.array([3, 4]), "test": np.array([5, 6, 7])}
    digests = [b"a", b"b", None, b"c", b"b", b"d", b"d", None]
    sizes = [3, 3, None, 3, 3, 3, 3, None]
    (line,) = describe_repeated(split, sizes, digests.__getitem__, list("01234567"))
    assert line.startswith("1 of 2 validation images")
    assert line.endswith("4 is 1")
    rest = {**split, "validation": np.array([3])}
    assert describe_repeated(rest, sizes, digests.__getitem__, list("01234567")) == []


def test_only_images_of_one_size_are_compared() -> None:
    split = {"train": np.array([0, 1, 2]), "validation": np.array([3]), "test": np.array([4, 5])}
    read: list[int] = []

    def digest(index: int) -> bytes:
        read.append(index)
        return b"same"

    (line,) = describe_repeated(split, [10, 20, 20, 30, 20, None], digest, list("012345"))
    assert (sorted(read), line.startswith("1 of 2 test images")) == ([1, 2, 4], True)


def test_a_list_names_a_few_and_counts_the_rest() -> None:
    assert list_some(["a", "b"]) == "a, b"
    assert list_some([str(number) for number in range(9)]) == "0, 1, 2, 3, 4 and 4 more"


def test_draws_of_any_number_of_classes_hold_rare_ones_in_their_proportion() -> None:
    common, rare = [True, False], [True, True]
    labels = np.array([common] * 60 + [rare] * 20 + [[False, False]] * 20)
    drawn = split_images(labels, [""] * 100, NAMES, SHARES, "x")
    shown = {part: (labels[indices, 1].sum(), (~labels[indices].any(axis=1)).sum()) for part, indices in drawn.items()}
    assert shown == {"train": (14, 14), "validation": (2, 2), "test": (4, 4)}


def test_classes_of_any_number_need_images_for_all_parts() -> None:
    labels = np.array([[True, False]] * 20 + [[True, True]] * 2)
    error = usage_error(split_images, labels, [""] * 22, NAMES, SHARES, "x")
    assert (error.kind, "b (2)" in error.problem) == (Kind.DAMAGED, True)


def test_an_imbalance_of_any_number_of_classes_is_told_without_advice_to_balance() -> None:
    labels = {"train": np.array([[True, False]] * 9 + [[True, True]]), "test": np.array([[True, False]])}
    unbalanced, untested = describe_balance(labels, NAMES)
    assert "10 training images of a, 1 of b" in unbalanced
    assert "balanced training" not in unbalanced
    assert "b" in untested
