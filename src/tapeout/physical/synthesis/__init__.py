"""Blocks through Yosys and a cell library: area, static timing, energy.

`liberty`, `function`, `library` and `pdk` read cell libraries; `mapping` turns RTL into gates in processes of their
own; `netlist` and `tables` are what `timing` and `energy` compute on; `flow.synthesise` is all of it for a block,
`blocks` for the blocks of a core. `quick` is for judging a pipeline while writing it.
"""
