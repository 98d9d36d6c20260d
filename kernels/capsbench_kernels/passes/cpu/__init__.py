"""The vote pass on CPUs, in Numba."""
