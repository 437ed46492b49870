"""functional (bits, fast), cycle (time, fast), rtl (truth)."""
