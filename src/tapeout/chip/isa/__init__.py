"""The instruction set: one instruction, one file, in a folder per engine (`sequencer`, `load`, `matrix`, `vector`,
`store`), holding its encoding, its meaning, its time and its text.

Everything else follows from those files: `registry` (decoding), `assembler`, `machine` (the executable
definition), `manual`. `definition` says what an instruction is, `state` what it acts on, `layout` how operands lie.
"""
