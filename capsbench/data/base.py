"""The base class of data sets, the data folder, and the loading of checked splits."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import platformdirs

from capsbench.data.draws import draw_few
from capsbench.data.files import DataFile
from capsbench.data.images import ANY_NUMBER, Images, ImageShape, Splits, split_rows
from capsbench.data.lazy import torch
from capsbench.data.prepare import GREY_LEVELS, resize_images, standardise_images
from capsbench.errors import FOREIGN, ArgumentError, Kind, UsageError, message_of
from capsbench.records.cell import Scalar
from capsbench.records.parts import open_dataset
from capsbench.sources import describe_error

if TYPE_CHECKING:
    from torch import Tensor


class Dataset(ABC):
    """Base class of a data set, a user's own included: declares its images and reads them.

    Arguments of ``__init__`` with a default are options: flags on the command line, and part of a cell's identity.
    """

    image: ImageShape
    """Channels, height and width of an image, as a network sees it. Training images may be larger if an augmentation crops
    them."""

    version: ClassVar[int] = 1
    """Version of the images; a change of them raises it in the class that changed. Networks of earlier versions are stale."""

    classes: int
    """Number of classes. Labels are 0 to ``classes - 1``."""

    path: Path | None = None
    """The folder or file of a user's own images; None of images in the data folder, or of none that lie on the disk."""

    class_names: Sequence[str] = ()
    """Names of the classes, in the order of their labels; empty if they have none."""

    def name_classes(self) -> tuple[str, ...]:
        """Returns the names of the classes, or their numbers where there is not one name for each."""
        names = tuple(map(str, self.class_names))
        return names if len(names) == self.classes else tuple(map(str, range(self.classes)))

    epochs: int = 10
    """Default number of passes over the training images. The network's recipe and the user override it."""

    shift: int = 0
    """Largest random shift of training images in pixels, by default."""

    labels_an_image: int = 1
    """Number of objects in an image, all of different classes. If it is 2 or more, labels are ``[N, labels_an_image]``.
    Training images may show one object, with labels ``[N]``, if an augmentation overlays them. `ANY_NUMBER`: an image shows any
    number of classes, none too; labels are then ``[N, classes]``, bool, and classes are predicted independently."""

    standardised: bool = False
    """True if the pixels of an image have mean 0 and variance 1, instead of lying in [0, 1]."""

    files: tuple[DataFile, ...] = ()
    """Files that the data folder must hold."""

    licence: str = ""
    """Terms of use of the files."""

    source: str = ""
    """The publication to cite, which describes the data set."""

    image_counts: Mapping[str, int] = MappingProxyType({})
    """Number of images of each part, as far as it is known before they are loaded."""

    familiar: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    """Angle, such as ``azimuth`` -> those of its values from which training shows the objects, where the test has other ones.
    Such a data set has a part ``familiar`` of test images from these or next to these. Empty: the viewpoints are not split."""

    out_of_distribution: tuple[str, ...] = ()
    """Names of data sets whose images show none of its classes, with as many channels."""

    facts: Mapping[str, str] = MappingProxyType({})
    """What a network needs to know of images that may be elsewhere: a user's own; empty of all others."""

    def count_classes(self) -> Mapping[str, Mapping[str, int]]:
        """Returns class -> part -> number of images, as far as they are known before they are loaded."""
        return {}

    def find_quick_faults(self) -> Mapping[str, str]:
        """Returns image -> the reason why it cannot be read, as far as headers tell."""
        return {}

    def describe(self) -> str:
        """Returns the classes, the number of images and their shape in one line."""
        channels, height, width = self.image
        kind = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
        counts = ", ".join(f"{count:,} {part}" for part, count in self.image_counts.items())
        classes = "1 class" if self.classes == 1 else f"{self.classes} classes"
        return f"{classes}, {counts}{' ' if counts else ''}images of {height}x{width} pixels, {kind}"

    @property
    def remarks(self) -> Sequence[str]:
        """Lines for the user about these images, such as an imbalance of the classes."""
        return ()

    @abstractmethod
    def load(self, folder: Path) -> Splits:
        """Returns all images of the three splits, the same ones at every call.

        Args:
            folder: the data folder (`data_folder`). A data set without files ignores it.

        Raises:
            UsageError: the images cannot be read; the message says in one line what to do.
        """

    def prepare_images(self, images: Tensor) -> Tensor:
        """Resizes whole images to the shape of the data set, and standardises each if those of the data set are.

        A trained network prepares images from elsewhere by this function. A data set that prepares its own in another way has
        its own version of it.

        Args:
            images: ``[N, C, H, W]`` of any height and width, pixels from 0 to 1.
        """
        resized = resize_images(images, *self.image[1:])
        return standardise_images(GREY_LEVELS * resized) if self.standardised else resized


def data_folder(asked: str | Path | None = None) -> Path:
    """Returns the folder of the data sets: ``asked``, else ``$CAPSBENCH_DATA``, else the platform's user cache."""
    return Path(asked or os.environ.get("CAPSBENCH_DATA") or platformdirs.user_cache_dir("capsbench")).expanduser()


def load_splits(
    name: str,
    folder: Path,
    train_size: int | None = None,
    seed: int = 0,
    options: Mapping[str, Scalar] = MappingProxyType({}),
) -> Splits:
    """Loads a data set by its name or import path, with a stratified draw of ``train_size`` training images.

    Loading uses one thread, because a sum may depend on the number of threads. So all processes get the same images.

    Raises:
        UsageError: the data set, its files or the train size are invalid, in one line.
    """
    dataset = open_dataset(name, options)
    try:
        _check_files(dataset)
        with _use_one_thread():
            splits = dataset.load(folder)
        if not isinstance(splits, Splits):
            raise ArgumentError("load", f"to return {Splits.__module__}.{Splits.__name__}", type(splits).__name__)
        for part, images in splits.by_name().items():
            _check_type(images, part)
        _check_class_names(dataset)
        _check_names(splits)
        _check_about(splits)
        for part, images in splits.by_name().items():
            _check_images(images, dataset, part, augmented=part == "train" and bool(splits.augmentations))
    except UsageError:
        raise
    except FOREIGN as error:  # a user's own data set can raise anything
        fault = message_of(error) if isinstance(error, ArgumentError) else describe_error(error)
        problem = f"cannot be loaded: {fault}"
        raise UsageError(Kind.DAMAGED, problem, flag="dataset", value=name) from error
    return replace(splits, train=draw_few(splits.train, train_size, seed, name))


@contextmanager
def _use_one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _check_files(dataset: Dataset) -> None:
    """Raises ArgumentError unless the files are declared as `DataFile`."""
    files: object = dataset.files
    if not isinstance(files, tuple | list) or not all(isinstance(file, DataFile) for file in files):
        raise ArgumentError(
            "files", "a tuple of capsbench.data.DataFile(path below the data folder, url or None)", files
        )


def _check_class_names(dataset: Dataset) -> None:
    """Raises ArgumentError unless each class has a name of its own, or none has one."""
    names = [*map(str, dataset.class_names)]
    if names and (len(names) != dataset.classes or len({*names}) != len(names)):
        raise ArgumentError("class_names", f"{dataset.classes} different names, one a class", names)


def _check_names(splits: Splits) -> None:
    """Raises ArgumentError for ambiguous names of parts and facts: ``test a`` + ``b`` and ``test`` + ``a b`` share a digest."""
    for part in splits.beside:
        if part in ("train", "validation", "test") or len(part.split()) != 1:
            raise ArgumentError("beside", "a name of one word other than train, validation and test", part)
    for part, facts in splits.about.items():
        for name in facts:
            # Digests use these two names for the images and labels themselves.
            if name in ("images", "labels") or len(name.split()) != 1:
                raise ArgumentError(f"about {part}", "a name of one word other than images and labels", name)


def _check_about(splits: Splits) -> None:
    """Raises ArgumentError unless each fact in ``about`` has one number per image of an existing part."""
    parts = splits.by_name()
    for part, numbers in splits.about.items():
        if part not in parts:
            raise ArgumentError("about", " or ".join(parts), part)
        count = len(parts[part].labels)
        for name, values in numbers.items():
            if not isinstance(values, torch.Tensor) or values.layout is not torch.strided:
                actual = values.layout if isinstance(values, torch.Tensor) else type(values)
                raise ArgumentError(f"about {part}, {name}", f"a dense tensor of {count} numbers", actual)
            if list(values.shape) != [count]:
                raise ArgumentError(f"about {part}, {name}", f"[{count}]", list(values.shape))


def _check_type(images: Images, part: str) -> None:
    """Raises ArgumentError unless a part is `Images` of two tensors."""
    if not isinstance(images, Images):
        raise ArgumentError(part, f"{Images.__module__}.{Images.__name__}", type(images).__name__)
    if not all(isinstance(tensor, torch.Tensor) for tensor in images):
        types = tuple(type(tensor).__name__ for tensor in images)
        raise ArgumentError(part, "images and labels as tensors", types)


def _check_images(images: Images, dataset: Dataset, part: str, augmented: bool) -> None:
    """Raises ArgumentError unless the images are as the data set declares, or may become so by an augmentation."""
    shape, labels = images.images.shape, images.labels
    count, objects = len(labels), dataset.labels_an_image
    is_mask = objects == ANY_NUMBER
    columns = dataset.classes if is_mask else objects
    # Before augmentation, an image to be overlaid shows a single object, and an image to be cropped is larger.
    is_single = objects == 1 or (augmented and not is_mask and labels.dim() == 1)
    labels_shape = [count] if is_single else [count, columns]
    least = dataset.image[1:]
    fits = (
        len(shape) == 4
        and shape[1] == dataset.image.channels
        and (shape[2:] == least or (augmented and shape[2] >= least[0] and shape[3] >= least[1]))
    )
    if count == 0 or not fits or shape[0] != count or list(labels.shape) != labels_shape:
        expected = "labels [N]" if objects == 1 else f"labels [N, {columns}]"
        sides = ", ".join(map(str, dataset.image))
        shapes = list(shape), list(labels.shape)
        raise ArgumentError(part, f"images [N, {sides}] and {expected}", shapes)
    labels_type = torch.bool if is_mask else torch.int64
    if images.images.dtype != torch.float32 or labels.dtype != labels_type:
        dtypes = images.images.dtype, labels.dtype
        raise ArgumentError(part, f"images of torch.float32 and labels of {labels_type}", dtypes)
    low, high = torch.stack([torch.stack(block.aminmax()) for block in split_rows(images.images)]).aminmax()
    if not (low.isfinite() and high.isfinite() if dataset.standardised else low >= 0 and high <= 1):
        expected = "finite pixels" if dataset.standardised else "pixels from 0 to 1"
        raise ArgumentError(part, expected, f"{low:g} to {high:g}")
    if is_mask:
        return
    first, last = labels.aminmax()
    if not (first >= 0 and last < dataset.classes):
        raise ArgumentError(part, f"labels from 0 to {dataset.classes - 1}", f"{first} to {last}")
    if labels.dim() > 1 and (twice := (labels.sort(dim=1).values.diff(dim=1) == 0).any(dim=1)).any():
        raise ArgumentError(part, f"{objects} different classes per image", labels[twice][0].tolist())
