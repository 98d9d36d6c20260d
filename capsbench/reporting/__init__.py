"""The report of a run: its parts, and the formats that it is written in."""
