"""The command line."""

from capsbench.cli.run import app, main

__all__ = ["app", "main"]
