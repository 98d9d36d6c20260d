"""Classes and splits of a user's own images: those given, or stratified draws."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from capsbench.data.draws import draw_stratified
from capsbench.data.lazy import torch
from capsbench.data.own.labels import Labels, count_images
from capsbench.errors import Kind, UsageError
from capsbench.records.record import LONGEST_NAME

TRAIN, VALIDATION, TEST = PARTS = ("train", "validation", "test")

NAMES_OF_PARTS = {
    TRAIN: ("train", "training"),
    VALIDATION: ("validation", "val", "valid", "dev"),
    TEST: ("test", "testing"),
}
"""Part -> the names that users give it, in any case."""

MOST_CLASSES = 1000

UNBALANCED = 1.5
"""The ratio of the largest to the smallest class from which an imbalance is told."""

MOST_NAMED = 5
"""The most classes or files that a message names."""

Indices = NDArray[np.int64]


class Shares(NamedTuple):
    """The shares of all training images that are held out where a part is not given, and the seed of these draws."""

    validation: float
    test: float
    seed: int

    def check(self) -> None:
        """Raises UsageError for shares that leave no training images."""
        for flag, share in (("validation_share", self.validation), ("test_share", self.test)):
            if not 0 < share < 1:
                raise UsageError(Kind.INVALID, flag=flag, expected="a share above 0 and below 1", value=share)
        if self.validation + self.test >= 1:
            expected = f"less than {1 - self.validation:g}, what {{flag:validation_share}} leaves"
            raise UsageError(Kind.INVALID, flag="test_share", expected=expected, value=self.test)
        if not 0 <= self.seed < 2**32:
            raise UsageError(Kind.INVALID, flag="split_seed", expected=f"0 to {2**32 - 1}", value=self.seed)


def find_part(name: str) -> str | None:
    """Returns the part that a user's name stands for: ``Val`` is ``validation``; None for any other name."""
    return next((part for part, names in NAMES_OF_PARTS.items() if name.strip().lower() in names), None)


def compose_names(names: Sequence[str]) -> list[str]:
    """Returns names with each letter and its accents as one character, each once.

    File systems and archives keep an ``é`` as one character or as two, which look the same. Both are one class.
    """
    return list(dict.fromkeys(compose(name) for name in names))


def compose(name: str) -> str:
    """Returns a name in which ``é`` is one character, whatever it was before."""
    return unicodedata.normalize("NFC", name)


def order_classes(labels: Sequence[str]) -> list[str]:
    """Returns the names of the classes, in the order of numbers if all are whole numbers, else of the alphabet."""
    names = set(labels)
    if all(re.fullmatch(r"[+-]?\d{1,18}", name, flags=re.ASCII) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def check_classes(names: Sequence[str], file: Any) -> None:
    """Raises UsageError for fewer than two classes or too many, and for names that records cannot hold."""
    if not 2 <= len(names) <= MOST_CLASSES:
        problem = f"{len(names)} class{'es' * (len(names) != 1)}: {list_some(names)}"
        expected = f"expected 2 to {MOST_CLASSES}"
        raise UsageError(Kind.DAMAGED, problem, flag="dataset", file=file, value=len(names), expected=expected)
    if unfit := [name for name in names if not 0 < len(name) <= LONGEST_NAME or not _is_unicode(name)]:
        problem = f"classes with unfit names: {list_some([repr(name) for name in unfit])}"
        expected = f"expected 1 to {LONGEST_NAME} characters in UTF-8"
        raise UsageError(Kind.DAMAGED, problem, flag="dataset", file=file, value=unfit, expected=expected)


def _is_unicode(name: str) -> bool:
    """Returns false for a file name of other bytes than UTF-8, which Python keeps as characters that are none."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def split_images(
    labels: Labels, parts: Sequence[str], names: Sequence[str], shares: Shares, file: Any
) -> dict[str, Indices]:
    """Returns part -> the indices of its images, in their order.

    Args:
        labels: class of each image, or its classes.
        parts: part of each image, or empty for all of them.
        names: those of the classes.
        file: the folder or file that errors name.

    Raises:
        UsageError: there are no training images of a class, or too few for the draws.
    """
    given = np.array([part or TRAIN for part in parts])
    split = {part: np.flatnonzero(given == part) for part in PARTS}
    drawn = [part for part in (TEST, VALIDATION) if not len(split[part])]
    _check_training(labels, split, names, drawn, file)
    count = len(split[TRAIN])
    for part in drawn:
        share = shares.test if part == TEST else shares.validation
        size = max(round(count * share), len(names))
        held_out = np.zeros(len(split[TRAIN]), dtype=bool)
        candidates = torch.from_numpy(labels[split[TRAIN]])
        held_out[draw_stratified(candidates, min(size, len(held_out)), shares.seed).numpy()] = True
        split[part], split[TRAIN] = split[TRAIN][held_out], split[TRAIN][~held_out]
    lost = np.flatnonzero(count_images(labels[split[TRAIN]], len(names)) == 0).tolist()
    if lost:
        problem = f"the draws leave no training image of {list_some([names[label] for label in lost])}"
        expected = "lower {flag:validation_share} or {flag:test_share}, or give a split"
        raise UsageError(Kind.CONFLICT, problem, flag="dataset", file=file, expected=expected)
    return split


def _check_training(
    labels: Labels, split: Mapping[str, Indices], names: Sequence[str], drawn: Sequence[str], file: Any
) -> None:
    """Raises UsageError unless each class has training images, and enough of them for the parts that are drawn."""
    counts = count_images(labels[split[TRAIN]], len(names))
    absent = [names[label] for label in np.flatnonzero(counts == 0).tolist()]
    if absent:
        problem = f"no training image of {list_some(absent)}, of which there are images in other parts"
        expected = "the classes of the training images are those of all parts"
        raise UsageError(Kind.DAMAGED, problem, flag="dataset", file=file, value=len(absent), expected=expected)
    least = 1 + len(drawn)
    few = [f"{names[label]} ({counts[label]})" for label in np.flatnonzero(counts < least).tolist()]
    if few:
        problem = f"too few images to draw {' and '.join(reversed(drawn))} images: {list_some(few)}"
        expected = f"expected {least} of each class at least, or a split"
        raise UsageError(Kind.DAMAGED, problem, flag="dataset", file=file, value=len(few), expected=expected)


def describe_balance(labels: Mapping[str, Labels], names: Sequence[str]) -> list[str]:
    """Returns a line on classes of different frequency, and one on classes without test images, where there are such.

    Args:
        labels: part -> the classes of its images.
    """
    lines = []
    counts = count_images(labels[TRAIN], len(names))
    most, least = int(counts.argmax()), int(counts.argmin())
    if counts[most] >= UNBALANCED * counts[least]:
        advice = "accuracy counts images, so frequent classes count more; "
        if labels[TRAIN].ndim == 1:
            advice += "balanced training draws all classes equally often"
        else:
            advice += "mean average precision counts all classes equally"
        lines.append(
            f"unbalanced classes: {counts[most]} training images of {names[most]}, {counts[least]} of {names[least]}; {advice}"
        )
    untested = np.flatnonzero(count_images(labels[TEST], len(names)) == 0).tolist()
    if untested:
        lines.append(f"no test image of {list_some([names[label] for label in untested])}")
    return lines


def describe_repeated(
    split: Mapping[str, NDArray[np.int64]],
    sizes: Sequence[int | None],
    digest: Callable[[int], bytes | None],
    names: Sequence[str],
) -> list[str]:
    """Returns a line for each part that holds images of the training set, which a network may know by heart.

    Args:
        split: part -> the indices of its images.
        sizes: the bytes of each image; None for one that cannot be read. Only images of one size are compared further, so that
            few have to be read.
        digest: index -> the digest of the bytes of an image; None for one that cannot be read.
        names: of each image.
    """
    others = {sizes[index] for part in PARTS[1:] for index in split[part]} - {None}
    shared = others & {sizes[index] for index in split[TRAIN]}
    alike = {part: [index for index in split[part].tolist() if sizes[index] in shared] for part in PARTS}
    digests = {index: digest(index) for indices in alike.values() for index in indices}
    trained = {digests[index]: index for index in alike[TRAIN] if digests[index]}
    lines = []
    for part in PARTS[1:]:
        repeated = [index for index in alike[part] if digests[index] in trained]
        if repeated:
            pairs = [f"{names[index]} is {names[trained[digests[index]]]}" for index in repeated]
            counts = f"{len(repeated)} of {len(split[part])} {part} images are training images as well"
            lines.append(f"{counts}, so that their numbers say less: {list_some(pairs)}")
    return lines


def list_some(names: Sequence[str]) -> str:
    """Returns a few names and the number of others: ``a, b, c and 4 more``."""
    shown = ", ".join(names[:MOST_NAMED])
    return f"{shown} and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else shown
