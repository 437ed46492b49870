"""Datasheets of off-the-shelf accelerators: one TOML each, every number with unit, source and confidence."""
