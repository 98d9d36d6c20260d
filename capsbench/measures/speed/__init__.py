"""The measure speed: how it is taken."""
