"""Which chip: design-space exploration over arrays of designs."""
