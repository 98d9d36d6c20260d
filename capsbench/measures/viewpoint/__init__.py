"""The measure viewpoint: how it is taken, and its section of a report."""
