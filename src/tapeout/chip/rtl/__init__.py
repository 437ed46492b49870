"""The hardware: one block, one file."""
