"""Times of training steps and of the kernels, and the reports on them."""
