"""Capsule networks, one file a paper."""

from capsbench.data.images import ImageShape
from capsbench.networks.base import CapsuleNetwork
from capsbench.networks.capsnet import CapsNet
from capsbench.networks.matrix_capsules import MatrixCapsules

__all__ = ["CapsNet", "CapsuleNetwork", "ImageShape", "MatrixCapsules"]
