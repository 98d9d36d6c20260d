"""Networks that have collapsed (`capsbench.stats.collapse`) and had not in the reference."""

from __future__ import annotations

from capsbench.comparing.side import Contender, Side
from capsbench.presenting.format import spell_seeds
from capsbench.presenting.marks import counts_of, is_collapsed


def describe_collapse(before: Contender, now: Contender, reference: Side, current: Side) -> str:
    """Describes the collapsed seeds of a run; empty if there are none, or if any of the reference has collapsed or is unknown."""
    if is_collapsed([*before.records.values()], reference.kept) is not False:
        return ""
    counts_by_seed = {seed: counts_of(record, current.kept) for seed, record in sorted(now.records.items())}
    stuck = {seed: counts for seed, counts in counts_by_seed.items() if counts is not None and counts.collapsed}
    if not stuck:
        return ""
    worst = max(stuck.values(), key=lambda counts: counts.predicted)
    return (
        f"collapsed in {spell_seeds([*stuck])}, and not in the reference: {100 * worst.predicted / worst.images:.0f} % of the "
        f"test images are assigned to one class, and {100 * worst.right / worst.images:.0f} % are right"
    )
