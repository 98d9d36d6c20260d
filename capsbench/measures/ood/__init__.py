"""The measure ood: how it is taken, and its section of a report."""
