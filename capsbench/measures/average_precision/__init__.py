"""The measure average-precision: how it is taken, and its section of a report."""
