"""What a notebook shows of an object: a sentence, details, tables and pictures, as a piece of HTML that runs no code."""

from capsbench.presenting.notebook.output import Displayed, Grid, Output, Shot

__all__ = ["Displayed", "Grid", "Output", "Shot"]
