"""What source a user's own component is made of, across the modules that it imports."""

from capsbench.sources.closure import Source, changed_parts, forget_modules, read_source

__all__ = ["Source", "changed_parts", "forget_modules", "read_source"]
