"""Data sets: images in [0, 1] with labels, in fixed splits for training, validation and test."""

from capsbench.data.base import Dataset, data_folder, load_splits
from capsbench.data.draws import draw_few, hold_out
from capsbench.data.files import DataFile
from capsbench.data.images import ANY_NUMBER, Images, ImageShape, Splits

__all__ = [
    "ANY_NUMBER",
    "DataFile",
    "Dataset",
    "ImageShape",
    "Images",
    "Splits",
    "data_folder",
    "draw_few",
    "hold_out",
    "load_splits",
]
