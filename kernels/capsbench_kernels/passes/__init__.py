"""The vote pass and its implementations."""
