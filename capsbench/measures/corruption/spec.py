"""The declarations of the measure `corruption`."""

from __future__ import annotations

from capsbench.measures.spec import Contest, Judged, MeasureSpec, Metric

CORRUPTION = "corruption"

ERROR, MEAN_ERROR = "error", "mean error"

MEAN = "mean"
"""The condition of the mean over all corruptions."""

CLEAN = "clean"
"""The condition of the same images without a corruption."""

IMAGES: dict[str, int | None] = {"light": 2_000, "full": None, "quick": 200}
"""Setting -> the most test images; None means all."""

SPEC = MeasureSpec(
    CORRUPTION,
    metrics=(
        Metric(ERROR, "fraction", higher_is_better=False),
        Metric(
            MEAN_ERROR,
            "fraction",
            higher_is_better=False,
            contests=(Contest("error under corruptions, mean", conditions=(MEAN,), excludes_collapsed=True),),
            judged=(Judged("error under corruptions", conditions=(MEAN,)),),
        ),
    ),
)
