"""Attacks on networks: readings of their scores, bounds, and the adapter that runs every attack."""
