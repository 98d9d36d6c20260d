"""COIL-20 (Nene, Nayar, Murase 1996): objects on a turntable, a view every 5 degrees."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from capsbench.data.base import Dataset
from capsbench.data.files import Archive, DataFile
from capsbench.data.formats.npz_arrays import read_npz
from capsbench.data.formats.png_archive import read_grey_pngs
from capsbench.data.formats.published import damaged_file, fetch_files
from capsbench.data.images import Images, ImageShape, Splits
from capsbench.data.lazy import torch
from capsbench.data.prepare import resize_images

OBJECTS, VIEWS, SIDE = 20, 72, 128
"""Numbers of objects and of views of each, and the pixels along a side of a published image."""

STEP = 360 // VIEWS
"""Degrees between two views."""


def _list_azimuths(*within: int, of: int, start: int = 0, end: int = 360) -> tuple[int, ...]:
    """Returns the azimuths from ``start`` to below ``end`` whose remainder by ``of`` is in ``within``, in degrees."""
    return tuple(azimuth for azimuth in range(start, end, STEP) if azimuth % of in within)


class COIL20(Dataset):
    """20 objects from 72 azimuths, 1x32x32: trained on every 30 degrees (240 images), tested 10 and 15 degrees from those (720).

    COIL-20 has one image of an object from each azimuth, always in the same light. So there are no other images from the azimuths
    of training. Validation images (240) are seen 5 degrees to one side of these, and those of the part ``familiar`` (240) 5
    degrees to the other side. Objects are those of training, unlike in smallNORB. The publisher has cut images to the object
    and stretched their contrast; here 128x128 pixels are reduced to 32x32, each the mean of 16.
    """

    image = ImageShape(1, 32, 32)
    classes = OBJECTS
    epochs = 60
    files = (
        Archive(
            "COIL20/coil-20-proc.zip",
            "http://www.cs.columbia.edu/CAVE/databases/SLAM_coil-20_coil-100/coil-20/coil-20-proc.zip",
            most=2**26,
            instead=DataFile("COIL20/coil20.npz", None, 12_179_008, "d44d0767f62e0ae426c15fb4466f3e8e"),
            folder="COIL20/coil-20-proc",
            members=("obj1__0.png", "obj20__71.png"),
        ),
    )
    licence = "for non-commercial research"
    source = "Nene, Nayar, Murase: Columbia object image library (COIL-20). Technical report CUCS-005-96, 1996"

    azimuths: ClassVar[Mapping[str, tuple[int, ...]]] = MappingProxyType(
        {
            "train": _list_azimuths(0, of=30),
            "validation": _list_azimuths(5, of=30),
            "familiar": _list_azimuths(25, of=30),
            "test": _list_azimuths(10, 15, 20, of=30),
        }
    )
    """Part -> the azimuths of its images in degrees."""

    familiar: Mapping[str, tuple[int, ...]] = MappingProxyType({"azimuth": azimuths["train"]})

    @property
    def image_counts(self) -> Mapping[str, int]:  # type: ignore[override]
        """Number of images of each part."""
        return {part: OBJECTS * len(azimuths) for part, azimuths in self.azimuths.items()}

    def load(self, folder: Path) -> Splits:
        (path,) = fetch_files(self.files, folder)
        views = torch.from_numpy(read_views(path))
        parts: dict[str, Images] = {}
        about = {}
        for part, azimuths in self.azimuths.items():
            degrees = torch.tensor(azimuths)
            chosen = views[:, degrees // STEP].flatten(0, 1).unsqueeze(1).float() / 255
            labels = torch.arange(OBJECTS).repeat_interleave(len(degrees))
            parts[part] = Images(resize_images(chosen, *self.image[1:]), labels)
            about[part] = {"azimuth": degrees.double().repeat(OBJECTS)}
        train, validation, test = (parts.pop(part) for part in ("train", "validation", "test"))
        return Splits(train, validation, test, parts, about={part: about[part] for part in ("test", *parts)})


class COIL20Halves(COIL20):
    """COIL-20 from the other side: trained on azimuths of 0 to 170 degrees (360 images), tested on those of 180 to 355 (720).

    Training has every 10 degrees of its half circle. Between these are validation images (180) and those of the part
    ``familiar`` (180), 5 degrees from views of training. The test shows sides of the objects that training never does.
    """

    azimuths = MappingProxyType(
        {
            "train": _list_azimuths(0, of=10, end=180),
            "validation": _list_azimuths(5, of=20, end=180),
            "familiar": _list_azimuths(15, of=20, end=180),
            "test": _list_azimuths(0, of=STEP, start=180),
        }
    )
    familiar = MappingProxyType({"azimuth": azimuths["train"]})


def read_views(path: Path) -> np.ndarray[Any, Any]:
    """Reads all views of all objects, ``[20, 72, 128, 128]`` of uint8; view k is seen from 5 k degrees.

    Args:
        path: the publisher's archive of ``objN__K.png``, its unpacked folder, or an ``.npz`` file of ``image``, ``object``
            (from 0) and ``azimuth`` (in degrees).

    Raises:
        UsageError: the file cannot be read, or not every object is there from every azimuth.
    """
    places, images = _read_npz(path) if path.suffix == ".npz" else _read_pngs(path)
    expected = {(thing, azimuth) for thing in range(OBJECTS) for azimuth in range(0, 360, STEP)}
    if len(places) != len(expected) or set(places) != expected:
        problem = (
            f"expected {OBJECTS} objects from {VIEWS} azimuths each, found {len(set(places) & expected)} of these views"
        )
        raise damaged_file(path, f"{problem} in {len(places)} images", len(places))
    views = np.empty((OBJECTS, VIEWS, SIDE, SIDE), np.uint8)
    for (thing, azimuth), image in zip(places, images, strict=True):
        views[thing, azimuth // STEP] = image
    return views


def _read_pngs(path: Path) -> tuple[list[tuple[int, int]], list[np.ndarray[Any, Any]]]:
    """Returns (object from 0, azimuth in degrees) of each image, and the images."""
    places, images = [], []
    for name, image in read_grey_pngs(path, SIDE).items():
        match = re.fullmatch(r"obj(\d{1,3})__(\d{1,3})\.png", PurePosixPath(name).name, flags=re.ASCII)
        if match is not None:
            places.append((int(match[1]) - 1, STEP * int(match[2])))
            images.append(image)
    return places, images


def _read_npz(path: Path) -> tuple[list[tuple[int, int]], list[np.ndarray[Any, Any]]]:
    """Returns (object from 0, azimuth in degrees) of each image, and the images."""
    count = OBJECTS * VIEWS
    expected = {"image": ("uint8", (count, SIDE, SIDE)), "object": ("uint8", (count,)), "azimuth": ("uint16", (count,))}
    arrays = read_npz(path, expected)
    return list(zip(arrays["object"].tolist(), arrays["azimuth"].tolist(), strict=True)), list(arrays["image"])
