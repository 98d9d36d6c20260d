"""The vote pass on GPUs, in Triton."""
