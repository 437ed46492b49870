"""What is designed: `spec` (the whole chip in one declaration), `presets/`, `isa/` and `rtl/`."""
