"""Fitted parameters: files that `tapeout calibrate` writes, with their provenance."""
