"""Runs of cells: what is trained and measured, where, and what becomes of it."""
