"""RTL simulation: Amaranth or Verilog → Verilator → C++ → a shared library driven from NumPy.

`build` compiles and caches, `harness` is the C++ around the model, `simulation` is what a test holds,
`lint` is Verilator's opinion of a block.
"""
