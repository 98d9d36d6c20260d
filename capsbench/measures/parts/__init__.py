"""The measure parts: how it is taken, and its section of a report."""
