"""The measure cost: how it is taken."""
