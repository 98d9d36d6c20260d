"""The published files of data sets, and what these share to read them."""
