"""The declarations of the measure `adversarial`."""

from __future__ import annotations

from capsbench.measures.spec import Contest, Judged, MeasureSpec, Metric

ADVERSARIAL = "adversarial"

SANITY_CHECK = "sanity check"
"""The metric of the checks on the attacks themselves: 1 where one held."""

SPEC = MeasureSpec(
    ADVERSARIAL,
    by_default=True,
    compared=2,  # the images that withstand attacks, and their share of those that were right (`reporting.sections.claims`)
    metrics=(
        Metric(
            "robust accuracy",
            "fraction",
            higher_is_better=True,
            contests=(
                Contest(
                    "worst case of attacks, L∞",
                    conditions=("Linf, worst case",),
                    at_headline_bound=True,
                    excludes_collapsed=True,
                ),
            ),
            judged=(
                Judged("robust accuracy, worst case in Linf", conditions=("Linf, worst case",)),
                Judged("robust accuracy, worst case in L2", conditions=("L2, worst case",)),
            ),
        ),
        Metric("invalid images", "images", higher_is_better=False),
        Metric("success", "fraction", higher_is_better=False),
        Metric("perturbation norm", "distance", higher_is_better=True),
        Metric("zero gradient", "fraction", higher_is_better=False),
        Metric(SANITY_CHECK, "held", judged=(Judged("sanity check of attacks", rule="check"),)),
        Metric("evidence", "fraction"),
    ),
)
