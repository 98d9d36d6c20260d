"""The declarations of the measure `ood`."""

from __future__ import annotations

from capsbench.measures.spec import Contest, Judged, MeasureSpec, Metric

OOD = "ood"

MEAN = "mean"
"""The condition of the mean over the sets whose images were scored."""

ACTIVATION, SHARE, RECONSTRUCTION = SCORES = ("activation", "share", "reconstruction")
"""The scores by which images are told apart."""

IMAGES: dict[str, int] = {"light": 1_000, "full": 10_000, "quick": 200}
"""Setting -> the most images of each set."""


def name_auroc(score: str) -> str:
    """Returns the metric of the area under the ROC curve of a score."""
    return f"AUROC by {score}"


def name_fpr(score: str) -> str:
    """Returns the metric of the false positive rate of a score."""
    return f"FPR at 95 % by {score}"


SPEC = MeasureSpec(
    OOD,
    metrics=(
        Metric(
            name_auroc(ACTIVATION),
            "fraction",
            higher_is_better=True,
            contests=(
                Contest("AUROC by maximum activation, mean of sets", conditions=(MEAN,), excludes_collapsed=True),
            ),
            judged=(Judged("AUROC of out-of-distribution images", conditions=(MEAN,)),),
        ),
        Metric(name_fpr(ACTIVATION), "fraction", higher_is_better=False),
        Metric(name_auroc(SHARE), "fraction", higher_is_better=True),
        Metric(name_fpr(SHARE), "fraction", higher_is_better=False),
        Metric(name_auroc(RECONSTRUCTION), "fraction", higher_is_better=True),
        Metric(name_fpr(RECONSTRUCTION), "fraction", higher_is_better=False),
        Metric("images", "images"),
    ),
)
