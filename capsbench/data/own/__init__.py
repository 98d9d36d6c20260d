"""A user's own images as they lie on the disk: a folder, arrays in a file, or a table of files. One file each."""
