"""Capsule networks, one file a paper."""

from capsbench.models.base import CapsuleNetwork
from capsbench.models.capsnet import CapsNet
from capsbench.models.matrix_capsules import MatrixCapsules
from capsbench.shapes import ImageShape

__all__ = ["CapsNet", "CapsuleNetwork", "ImageShape", "MatrixCapsules"]
