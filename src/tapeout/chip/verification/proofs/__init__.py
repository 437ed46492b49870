"""The properties: one block, one file."""
