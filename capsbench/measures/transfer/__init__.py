"""The measure transfer: how it is taken, and its section of a report."""
