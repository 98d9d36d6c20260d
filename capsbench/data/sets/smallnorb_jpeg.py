"""A JPEG copy of smallNORB with recovered poses, under names of its own: its results are not those of the published set."""

from __future__ import annotations

from capsbench.data.files import DataFile
from capsbench.data.sets.smallnorb import (
    CONTENT_BYTES,
    COPY_INFO,
    TESTING,
    TRAINING,
    SmallNORB,
    SmallNORBAzimuth,
    SmallNORBElevation,
    SmallNORBNewToys,
)


def _declare_file(part: str, kind: str, md5: str) -> DataFile:
    return DataFile(f"smallNORB/smallnorb-{part}-{kind}.mat", None, CONTENT_BYTES[kind], md5)


class SmallNORBJPEG(SmallNORB):
    """A JPEG copy of smallNORB with recovered poses: 21,870 for training, 2,430 for validation, 24,300 for the test.

    Images are prepared as in smallNORB. They were compressed by JPEG at quality 75. Category and toy of an image, its elevation
    and the darkest lighting are the publisher's. Which image shows which view was recovered from the images. The numbers of the
    five other lightings are the copy's own, and so is azimuth 0: the front of a toy towards the camera. The publisher's azimuth 0
    differs from toy to toy.
    """

    files = (
        _declare_file(TRAINING, "dat", "98b4bdd8fe1dbbf0f9b17c78606f2eb7"),
        _declare_file(TRAINING, "cat", "fd5120d3f770ad57ebe620eb61a0b633"),
        _declare_file(TRAINING, "info", COPY_INFO[TRAINING]),
        _declare_file(TESTING, "dat", "38867184dff5c1fc44b703b9521c7c37"),
        _declare_file(TESTING, "cat", "fd5120d3f770ad57ebe620eb61a0b633"),
        _declare_file(TESTING, "info", COPY_INFO[TESTING]),
    )
    source = f"{SmallNORB.source}; a JPEG copy with recovered poses, not to be compared with published results"


class SmallNORBJPEGNewToys(SmallNORBJPEG, SmallNORBNewToys):
    """The JPEG copy of smallNORB with one toy of each class held out: 19,440 / 4,860 / 24,300 images.

    Images for training, validation and test, as in ``smallnorb-new-toys``.
    """


class SmallNORBJPEGAzimuth(SmallNORBJPEG, SmallNORBAzimuth):
    """The JPEG copy of smallNORB from novel azimuths: trained on 300 to 40 degrees, tested on 60 to 280.

    Counts are those of ``smallnorb-azimuth``. The azimuths are the copy's own, from the front of a toy, so this is another split
    than the published one.
    """


class SmallNORBJPEGElevation(SmallNORBJPEG, SmallNORBElevation):
    """The JPEG copy of smallNORB from novel elevations: trained on 30 to 40 degrees, tested on 45 to 70.

    Counts are those of ``smallnorb-elevation``. The split is that of Hinton 2018, section 5.1.
    """
