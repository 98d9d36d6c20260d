"""What becomes of the cells of a results folder, read from its files by any process and machine that sees it."""

from capsbench.watching.state import FailedCell, RunningCell, Status
from capsbench.watching.watch import Watch, status

__all__ = ["FailedCell", "RunningCell", "Status", "Watch", "status"]
