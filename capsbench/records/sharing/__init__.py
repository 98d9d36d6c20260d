"""What several processes and machines need to write into one folder at the same time."""
