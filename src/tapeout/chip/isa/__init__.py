"""The instruction set: one instruction, one file."""
