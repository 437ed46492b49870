"""The shipped chips, one TOML each, named after the chip."""
