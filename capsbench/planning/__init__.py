"""From what a user asks for to the cells to run."""
