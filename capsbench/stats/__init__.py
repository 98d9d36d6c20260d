"""Statistics of differences and of noise."""
