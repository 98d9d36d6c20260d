"""The measure few-shot: how it is taken, and its section of a report."""
