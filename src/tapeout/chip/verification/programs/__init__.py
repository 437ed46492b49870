"""Random programs over every instruction, as trees that stay legal when parts are taken out of them.

`tree` is what a program is made of, `layout` where its data lie, `commands` and `generate` make random ones, `lower`
turns a tree into assembly with the tokens that order it, `cover` says what a set of programs exercised.
`simulator.rtl.random_programs` runs them on RTL and on the executable ISA.
"""
