"""Attacks on networks: how their output is read, within what bounds, and the one adapter through which attacks run."""
