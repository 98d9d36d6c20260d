"""How commands are called from a shell: the group of all commands, and signals."""
