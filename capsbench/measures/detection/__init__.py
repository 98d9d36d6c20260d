"""The measure detection: how it is taken, and its section of a report."""
