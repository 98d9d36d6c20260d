"""Cells and their records, on disk and as tables."""
