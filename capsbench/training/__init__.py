"""Training: losses, the training step, the one training loop, and predictions."""
