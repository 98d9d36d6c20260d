"""The measure routing-robustness: how it is taken, and its section of a report."""
