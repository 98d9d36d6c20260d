"""The measure corruption: how it is taken, and its section of a report."""
