"""The measure transformation: how it is taken, and its section of a report."""
