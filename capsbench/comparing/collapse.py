"""Whether networks have collapsed (`capsbench.stats.collapse`) that had not."""

from __future__ import annotations

from capsbench.comparing.side import Contender, Side
from capsbench.presenting.format import spell_seeds
from capsbench.presenting.marks import counts_of, is_collapsed


def tell_collapse(before: Contender, now: Contender, reference: Side, current: Side) -> str:
    """Which seeds of a run have collapsed, in words; empty where none has, or where any of the reference has or is not known."""
    if is_collapsed([*before.records.values()], reference.kept) is not False:
        return ""
    found = {seed: counts_of(record, current.kept) for seed, record in sorted(now.records.items())}
    stuck = {seed: counts for seed, counts in found.items() if counts is not None and counts.collapsed}
    if not stuck:
        return ""
    worst = max(stuck.values(), key=lambda counts: counts.predicted)
    return (
        f"collapsed in {spell_seeds([*stuck])}, which the reference has not: {100 * worst.predicted / worst.images:.0f} % of the "
        f"test images are taken for one class, and {100 * worst.right / worst.images:.0f} % are right"
    )
