"""How many images are warped."""

from __future__ import annotations

IMAGES: dict[str, int | None] = {"light": 500, "full": None, "quick": 200}
"""Setting -> test images at most; None: all."""
