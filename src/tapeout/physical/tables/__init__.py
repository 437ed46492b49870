"""Technology tables: one TOML each; every number with its unit, range, source, confidence and origin."""
