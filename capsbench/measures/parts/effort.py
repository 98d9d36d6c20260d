"""The number of images whose routing is observed."""

from __future__ import annotations

IMAGES: dict[str, int | None] = {"light": 300, "full": None, "quick": 50}
"""Setting -> the most test images; None means all."""

DEAD_BELOW = 0.01
"""A capsule that is never more active than this is dead."""
