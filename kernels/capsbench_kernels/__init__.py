"""Routing between capsules, as one differentiable primitive and the published algorithms on top of it.

Usable on its own, with torch alone: ``from capsbench_kernels import vote_pass, dynamic_routing, em_routing``.
"""

from capsbench_kernels.errors import ArgumentError, ReferenceWarning, UnavailableBackend
from capsbench_kernels.passes.api import BACKENDS, choose_backend, log_normaliser, vote_pass
from capsbench_kernels.passes.arithmetic import Arithmetic, count_arithmetic
from capsbench_kernels.passes.observe import VotePass, observe_vote_passes, unnoticed
from capsbench_kernels.passes.operators import decomposition_table
from capsbench_kernels.passes.recentre import recentred
from capsbench_kernels.passes.types import Moments, Parents, at_least_float32, without_autocast
from capsbench_kernels.routings.dynamic import dynamic_routing, dynamic_sums
from capsbench_kernels.routings.em import em_routing
from capsbench_kernels.routings.squash import SQUASHES, squash, vector_length

__all__ = [
    "BACKENDS",
    "SQUASHES",
    "ArgumentError",
    "Arithmetic",
    "Moments",
    "Parents",
    "ReferenceWarning",
    "UnavailableBackend",
    "VotePass",
    "at_least_float32",
    "choose_backend",
    "count_arithmetic",
    "decomposition_table",
    "dynamic_routing",
    "dynamic_sums",
    "em_routing",
    "log_normaliser",
    "observe_vote_passes",
    "recentred",
    "squash",
    "unnoticed",
    "vector_length",
    "vote_pass",
    "without_autocast",
]
