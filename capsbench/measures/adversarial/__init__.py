"""The measure adversarial: how it is taken, and its section of a report."""
