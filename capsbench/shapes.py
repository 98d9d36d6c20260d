"""The shape of an image, which data sets tell and networks are built for."""

from typing import NamedTuple


class ImageShape(NamedTuple):
    """Channels, height and width."""

    channels: int
    height: int
    width: int
