"""Times of training steps and kernels, and their reports."""
