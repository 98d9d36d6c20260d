"""The measure overlap: how it is taken, and its section of a report."""
