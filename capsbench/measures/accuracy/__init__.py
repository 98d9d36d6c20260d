"""The measure accuracy: how it is taken."""
