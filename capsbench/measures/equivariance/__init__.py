"""The measure equivariance: how it is taken, and its section of a report."""
