"""A report as HTML, Markdown and LaTeX."""

FORMATS = ("html", "md", "tex", "csv", "parquet", "svg", "png")
"""The formats of a report: the page, the page as Markdown, tables for LaTeX, tables for programs, and pictures."""
