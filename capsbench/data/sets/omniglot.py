"""Omniglot (Lake, Salakhutdinov, Tenenbaum 2015): characters of many alphabets, each drawn once by 20 people.

`Omniglot` is a data set to train on. `read_drawings` and `read_runs` have what few-shot tests need: drawings with alphabet,
character and drawer, and the authors' 20 runs of one-shot classification.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from capsbench.data.base import Dataset
from capsbench.data.files import Archive
from capsbench.data.formats.png_archive import read_grey_pngs, read_members
from capsbench.data.formats.published import damaged_file, fetch_files
from capsbench.data.images import Images, ImageShape, Splits
from capsbench.data.lazy import torch
from capsbench.data.prepare import resize_images

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"

SIDE = 105
"""Pixels along a side of a published drawing."""

DRAWERS, WAYS, RUNS = 20, 20, 20
"""Drawings of a character, characters of a run, and runs."""

TRAINING_ALPHABETS = ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin")
"""The alphabets of the first small background set, 136 characters."""

NOVEL_ALPHABETS = ("Japanese_(katakana)", "Sanskrit", "Tagalog")
"""Those that the second small background set has beyond the first, 106 characters. Both sets have the same Greek and Latin."""


def _declare_archive(name: str, folder: str, size: int, md5: str, members: tuple[str, ...]) -> Archive:
    path = f"omniglot-py/{name}"
    return Archive(f"{path}.zip", f"{URL}{folder}{name}.zip", size, md5, folder=path, members=members)


BACKGROUND = (
    _declare_archive("images_background_small1", "", 1_319_022, "e704a628b5459e08445c13499850abc4", TRAINING_ALPHABETS),
    _declare_archive(
        "images_background_small2",
        "",
        1_580_917,
        "b75a71a51d3b13f821f212756fe481fd",
        (*NOVEL_ALPHABETS, "Greek", "Latin"),
    ),
)
"""The two small background sets, which the authors propose as hard alternatives to the whole one."""

ONE_SHOT = _declare_archive(
    "all_runs",
    "one-shot-classification/",
    352_787,
    "e8996daecdf12afeeb4a53a179f06b19",
    ("run01",),
)
"""The 20 runs of one-shot classification, of characters from other alphabets than those of the background sets."""


class Drawings(NamedTuple):
    """Drawings of characters, sorted by alphabet, character and drawer.

    - ``images`` ``[N, 1, 105, 105]``, float32: 1 for ink, 0 for paper
    - ``characters`` ``[N]``, int64: index of the character in ``names``
    - ``drawers`` ``[N]``, int64: 1 to 20, within an alphabet always the same people
    - ``names``: (alphabet, number in the alphabet from 1) of each character
    """

    images: Tensor
    characters: Tensor
    drawers: Tensor
    names: Sequence[tuple[str, int]]


class Run(NamedTuple):
    """A run of one-shot classification: 20 characters of one alphabet, by two people.

    - ``examples`` ``[20, 1, 105, 105]``, float32: one drawing of each character by one person, 1 for ink
    - ``queries`` ``[20, 1, 105, 105]``: one drawing of each character by the other person
    - ``answers`` ``[20]``, int64: for each query the index of the example of the same character
    """

    examples: Tensor
    queries: Tensor
    answers: Tensor


class Omniglot(Dataset):
    """136 characters of 5 alphabets, 1x28x28: 1,904 drawings for training, 272 for validation, 544 for the test.

    A network learns the characters of `TRAINING_ALPHABETS`. Of the 20 drawings of a character, those of drawers 1 to 14 are for
    training, 15 and 16 for validation, 17 to 20 for the test. The characters of `NOVEL_ALPHABETS` and those of the 20 runs are in
    no part: they are for few-shot tests. Drawings of 105x105 pixels are resized to 28x28 (bilinear with antialiasing), ink
    bright on black as in MNIST.
    """

    image = ImageShape(1, 28, 28)
    classes = 136
    epochs = 60
    shift = 2
    files = (*BACKGROUND, ONE_SHOT)
    licence = "MIT"
    source = "Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through probabilistic program induction. Science 2015"

    drawers: ClassVar[Mapping[str, range]] = MappingProxyType(
        {"train": range(1, 15), "validation": range(15, 17), "test": range(17, 21)}
    )
    """Part -> the drawers of its drawings."""

    @property
    def image_counts(self) -> Mapping[str, int]:  # type: ignore[override]
        """Number of images of each part."""
        return {part: self.classes * len(drawers) for part, drawers in self.drawers.items()}

    def load(self, folder: Path) -> Splits:
        path, *_ = fetch_files(self.files, folder)
        drawings = read_drawings(folder, TRAINING_ALPHABETS)
        if len(drawings.names) != self.classes:
            raise damaged_file(
                path, f"expected {self.classes} characters, found {len(drawings.names)}", len(drawings.names)
            )
        images = resize_images(drawings.images, *self.image[1:])
        parts = {}
        for part, drawers in self.drawers.items():
            chosen = torch.isin(drawings.drawers, torch.tensor(drawers))
            parts[part] = Images(images[chosen], drawings.characters[chosen])
        return Splits(parts["train"], parts["validation"], parts["test"])


def read_drawings(folder: Path, alphabets: Sequence[str] = TRAINING_ALPHABETS + NOVEL_ALPHABETS) -> Drawings:
    """Reads all drawings of some alphabets. Missing files are downloaded.

    Args:
        folder: the data folder (`capsbench.data.data_folder`).
        alphabets: of `TRAINING_ALPHABETS` and `NOVEL_ALPHABETS`.

    Raises:
        UsageError: a file is missing or damaged, or a character is not drawn by each of 20 people.
    """
    images: dict[tuple[str, int, int], np.ndarray] = {}
    for path in fetch_files(BACKGROUND, folder):
        for name, image in read_grey_pngs(path, SIDE).items():
            place = _parse_place(path, name)
            # Greek and Latin are in both sets, with the same drawings.
            if place[0] in alphabets:
                images.setdefault(place, image)
        drawn = {place[:2] for place in images}
        if any((*character, drawer) not in images for character in drawn for drawer in range(1, DRAWERS + 1)):
            raise damaged_file(path, f"expected {DRAWERS} drawings of each character", len(images))
    if missing := {*alphabets} - {place[0] for place in images}:
        raise damaged_file(path, f"expected drawings of {min(missing)}", min(missing))
    places = sorted(images)
    names = sorted({place[:2] for place in places})
    index = {name: position for position, name in enumerate(names)}
    return Drawings(
        _to_ink([images[place] for place in places]),
        torch.tensor([index[place[:2]] for place in places]),
        torch.tensor([place[2] for place in places]),
        names,
    )


def read_runs(folder: Path) -> list[Run]:
    """Reads the 20 runs of one-shot classification. Missing files are downloaded.

    Raises:
        UsageError: the file is missing or damaged, or a run does not have 20 examples and 20 queries with one answer each.
    """
    (path,) = fetch_files([ONE_SHOT], folder)
    images = {_last_parts(name, 3): image for name, image in read_grey_pngs(path, SIDE).items()}
    lists = {_last_parts(name, 2): text for name, text in read_members(path, "class_labels.txt")}
    runs = []
    for run in (f"run{number:02}" for number in range(1, RUNS + 1)):
        answers = [
            line.split() for line in lists.get(f"{run}/class_labels.txt", b"").decode("ascii", "replace").splitlines()
        ]
        examples = sorted(name for name in images if name.startswith(f"{run}/training/"))
        queries = [pair[0] for pair in answers]
        unknown = [name for pair in answers for name in pair if name not in images]
        if [len(examples), len(set(queries)), len({pair[-1] for pair in answers})] != [WAYS] * 3 or unknown:
            raise damaged_file(path, f"expected {WAYS} examples and {WAYS} queries with an answer each in {run}", run)
        matches = torch.tensor([examples.index(pair[1]) for pair in answers])
        runs.append(
            Run(_to_ink([images[name] for name in examples]), _to_ink([images[name] for name in queries]), matches)
        )
    return runs


def _parse_place(path: Path, name: str) -> tuple[str, int, int]:
    """Returns alphabet, character and drawer of ``.../Greek/character01/0394_01.png``."""
    parts = PurePosixPath(name).parts
    found = re.fullmatch(r"character(\d\d)/\d{4}_(\d\d)\.png", "/".join(parts[-2:]), flags=re.ASCII)
    if found is None or len(parts) < 3:
        raise damaged_file(path, f"expected ALPHABET/characterNN/NNNN_NN.png, found {name}", name)
    return parts[-3], int(found[1]), int(found[2])


def _last_parts(name: str, count: int) -> str:
    return "/".join(PurePosixPath(name).parts[-count:])


def _to_ink(drawings: Sequence[np.ndarray]) -> Tensor:
    """Converts drawings of black ink on white paper to ``[N, 1, H, W]`` with ink of 1 on 0."""
    return 1 - torch.from_numpy(np.stack(drawings)).unsqueeze(1).float() / 255
