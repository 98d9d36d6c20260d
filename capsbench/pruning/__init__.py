"""What of a results folder may go, and its removal."""

from capsbench.pruning.removal import Pruned, prune
from capsbench.pruning.sizes import Size
from capsbench.pruning.waste import KINDS, Waste

__all__ = ["KINDS", "Pruned", "Size", "Waste", "prune"]
