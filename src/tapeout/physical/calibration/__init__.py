"""Calibration: blocks of the RTL synthesised over their parameters, and area as fitted functions of them.

    python -m tapeout.physical.calibration --lib asap7.lib      # synthesises what changed, fits, writes the tables

`configurations` lists what is synthesised, `measure` does it (results are kept by a hash of RTL and library),
`features` says of which terms each block's area is made, `fit` finds the coefficients, `tables` reads and writes
what is committed: `physical/tables/synthesis.csv` (every configuration) and `physical/tables/area.toml`.
"""
