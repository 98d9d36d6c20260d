"""The flags that several commands have."""
