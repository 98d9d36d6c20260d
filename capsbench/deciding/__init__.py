"""Runs that add seeds until one comparison is decided."""

from capsbench.deciding.looks import Decision as Decision
from capsbench.deciding.looks import decide as decide
