"""The vote pass on CPUs, in Numba."""

import os

# Numba reads `.numba_config.yaml` of the working directory, which may name a folder of compiled kernels, and those are pickles:
# a folder of somebody else's would run its code. The environment has the last word; empty stands for Numba's own choice.
os.environ.setdefault("NUMBA_CACHE_DIR", "")
