"""The number of images that are warped."""

from __future__ import annotations

IMAGES: dict[str, int | None] = {"light": 500, "full": None, "quick": 200}
"""Setting -> the most test images; None means all."""
