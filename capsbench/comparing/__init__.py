"""Records beside records: what is different, and what has become worse."""

from capsbench.comparing.checked import Checked
from capsbench.comparing.comparison import Comparison, compare
from capsbench.comparing.gate import check

__all__ = ["Checked", "Comparison", "check", "compare"]
