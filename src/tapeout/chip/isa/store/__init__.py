"""Instructions of the store engine: scratchpad to memory."""
