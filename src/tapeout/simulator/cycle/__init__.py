"""Time of a program, cycle by cycle, without its data."""
