"""Instructions of the load engine: memory to scratchpad."""
