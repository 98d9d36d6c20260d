"""The measure affine: how it is taken, and its section of a report."""
