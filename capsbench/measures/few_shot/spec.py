"""The declarations of the measure `few-shot`."""

from __future__ import annotations

from capsbench.measures.spec import Contest, Judged, MeasureSpec, Metric

FEW_SHOT = "few-shot"

EPISODES: dict[str, int] = {"light": 400, "full": 2_000, "quick": 50}
"""Setting -> episodes of each number of classes and examples."""

WIDTH = 32
"""The most features of a comparison at equal width."""

WAYS, SHOTS = (5, 20), (1, 5)
"""Numbers of new characters in an episode, and of examples of each."""

RUNS = "20 runs"
"""The condition of the authors' runs of one-shot classification."""

WHOLE = ", whole layer"
"""The end of a condition whose numbers are those of all features."""


def name_episodes(ways: int, shots: int) -> str:
    """Returns the condition of episodes of some classes with some examples each."""
    return f"{ways}-way {shots}-shot"


HARDEST = name_episodes(max(WAYS), min(SHOTS))
"""The episodes by which contenders are compared."""

SPEC = MeasureSpec(
    FEW_SHOT,
    metrics=(
        Metric(
            "accuracy",
            "fraction",
            higher_is_better=True,
            contests=(Contest(f"new characters, {HARDEST}", conditions=(HARDEST,), excludes_collapsed=True),),
            judged=(Judged("accuracy on new characters", conditions=(HARDEST,)),),
        ),
        Metric("half-width", "fraction"),
        Metric("error", "fraction", higher_is_better=False),
        Metric("width", "features"),
        Metric("drawings", "images"),
    ),
)
