"""Data sets, one file each: images in [0, 1] with labels, in fixed splits for training, validation and test."""

from capsbench.data.base import Dataset, Images, Splits, data_folder, few, hold_out, load_splits

__all__ = ["Dataset", "Images", "Splits", "data_folder", "few", "hold_out", "load_splits"]
