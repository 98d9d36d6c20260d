"""What the harness asks of a data set, and where data sets lie and how they are loaded."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import platformdirs

from capsbench import registry
from capsbench.data.draws import few
from capsbench.data.files import DataFile
from capsbench.data.images import Images, ImageShape, Splits
from capsbench.data.lazy import torch
from capsbench.errors import FOREIGN, ArgumentError, Kind, UsageError, message_of


class Dataset(ABC):
    """Base class of a data set, a user's own included: it says what its images are and reads them."""

    image: ClassVar[ImageShape]
    """Channels, height and width of an image, as a network sees it. Images to train on may be higher and wider where an
    augmentation crops them."""

    version: ClassVar[int] = 1
    """Raised, in the class that changed, when a change alters what it gives: networks of an earlier version are then stale."""

    classes: ClassVar[int]
    """Number of classes; labels are 0 to ``classes - 1``."""

    epochs: ClassVar[int] = 10
    """Passes over the training images unless the user or the network's recipe says otherwise."""

    shift: ClassVar[int] = 0
    """Training images are shifted at random by up to this many pixels, by default."""

    labels_an_image: ClassVar[int] = 1
    """Objects that an image shows, each of another class; from 2 on labels are ``[N, labels_an_image]``. Images to train on
    may show one, with labels ``[N]``, where an augmentation overlays them."""

    standardised: ClassVar[bool] = False
    """Whether pixels have a mean of 0 and a variance of 1 an image, rather than lying in [0, 1]."""

    files: ClassVar[tuple[DataFile, ...]] = ()
    """What has to lie in the data folder."""

    licence: ClassVar[str] = ""
    """Under which terms the files are published."""

    source: ClassVar[str] = ""
    """Who is to be cited, and where the data set is described."""

    @abstractmethod
    def load(self, folder: Path) -> Splits:
        """All images of the three splits, the same ones at every call.

        Args:
            folder: the data folder (`data_folder`), which a data set that needs no files ignores.

        Raises:
            UsageError: the images are not to be had, in one line that says what to do.
        """


def data_folder(asked: str | Path | None = None) -> Path:
    """The folder that holds the data sets: ``asked``, else ``$CAPSBENCH_DATA``, else the platform's user cache."""
    return Path(asked or os.environ.get("CAPSBENCH_DATA") or platformdirs.user_cache_dir("capsbench")).expanduser()


def load_splits(name: str, folder: Path, train_size: int | None = None, seed: int = 0) -> Splits:
    """The splits of a data set by its name or import path, training on a draw of ``train_size`` images.

    It is loaded with one thread, as a sum may depend on how many there are: the same images in every process.

    Raises:
        UsageError: whatever is wrong with the data set, its files or the size asked for, in one line.
    """
    dataset = registry.get("dataset", name)
    try:
        with _one_thread():
            splits = dataset().load(folder)
        if not isinstance(splits, Splits):
            raise ArgumentError("load", f"to return {Splits.__module__}.{Splits.__name__}", type(splits).__name__)
        for part, images in splits.named().items():
            _check_type(images, part)
        _check_names(splits)
        _check_about(splits)
        for part, images in splits.named().items():
            _check(images, dataset, part, augmented=part == "train" and bool(splits.augmentations))
    except UsageError:
        raise
    except FOREIGN as error:  # a user's own data set may raise anything
        kind = "" if isinstance(error, ArgumentError) else f"{type(error).__name__}: "
        problem = f"cannot be loaded: {kind}{message_of(error)}"
        raise UsageError(Kind.DAMAGED, problem, flag="dataset", value=name) from error
    return replace(splits, train=few(splits.train, train_size, seed, name))


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _check_names(splits: Splits) -> None:
    """Raises ArgumentError for names of parts and facts that two digests could share: ``test a`` + ``b``, ``test`` + ``a b``."""
    for part in splits.beside:
        if part in ("train", "validation", "test") or len(part.split()) != 1:
            raise ArgumentError("beside", "a name of one word other than train, validation and test", part)
    for part, facts in splits.about.items():
        for name in facts:
            # The images and labels themselves have these two names.
            if name in ("images", "labels") or len(name.split()) != 1:
                raise ArgumentError(f"about {part}", "a name of one word other than images and labels", name)


def _check_about(splits: Splits) -> None:
    """Raises ArgumentError unless all that is known of images is of images that are there, a number each."""
    parts = splits.named()
    for part, numbers in splits.about.items():
        if part not in parts:
            raise ArgumentError("about", " or ".join(parts), part)
        count = len(parts[part].labels)
        for name, values in numbers.items():
            if not isinstance(values, torch.Tensor) or values.layout is not torch.strided:
                found = values.layout if isinstance(values, torch.Tensor) else type(values)
                raise ArgumentError(f"about {part}, {name}", f"a dense tensor of {count} numbers", found)
            if list(values.shape) != [count]:
                raise ArgumentError(f"about {part}, {name}", f"[{count}]", list(values.shape))


def _check_type(images: Images, part: str) -> None:
    """Raises ArgumentError unless a part is `Images` of two tensors."""
    if not isinstance(images, Images):
        raise ArgumentError(part, f"{Images.__module__}.{Images.__name__}", type(images).__name__)
    if not all(isinstance(tensor, torch.Tensor) for tensor in images):
        types = tuple(type(tensor).__name__ for tensor in images)
        raise ArgumentError(part, "images and labels as tensors", types)


def _check(images: Images, dataset: type[Dataset], part: str, augmented: bool) -> None:
    """Raises ArgumentError unless the images are what the data set declares, or can be made it by an augmentation."""
    shape, labels = images.images.shape, images.labels
    count, shown = len(labels), dataset.labels_an_image
    # What is overlaid on its way into a batch shows a single object before, and what is cropped is larger.
    wanted = [count] if shown == 1 or (augmented and labels.dim() == 1) else [count, shown]
    least = dataset.image[1:]
    fits = (
        len(shape) == 4
        and shape[1] == dataset.image.channels
        and (shape[2:] == least or (augmented and shape[2] >= least[0] and shape[3] >= least[1]))
    )
    if count == 0 or not fits or shape[0] != count or list(labels.shape) != wanted:
        expected = "labels [N]" if shown == 1 else f"labels [N, {shown}]"
        sides = ", ".join(map(str, dataset.image))
        shapes = list(shape), list(labels.shape)
        raise ArgumentError(part, f"images [N, {sides}] and {expected}", shapes)
    if images.images.dtype != torch.float32 or labels.dtype != torch.int64:
        dtypes = images.images.dtype, labels.dtype
        raise ArgumentError(part, "images of torch.float32 and labels of torch.int64", dtypes)
    low, high = images.images.aminmax()
    if not (low.isfinite() and high.isfinite() if dataset.standardised else low >= 0 and high <= 1):
        expected = "finite pixels" if dataset.standardised else "pixels from 0 to 1"
        raise ArgumentError(part, expected, f"{low:g} to {high:g}")
    first, last = labels.aminmax()
    if not (first >= 0 and last < dataset.classes):
        raise ArgumentError(part, f"labels from 0 to {dataset.classes - 1}", f"{first} to {last}")
    if labels.dim() > 1 and (twice := (labels.sort(dim=1).values.diff(dim=1) == 0).any(dim=1)).any():
        raise ArgumentError(part, f"{shown} different classes an image", labels[twice][0].tolist())
