"""What is shown about the RTL beyond simulation: proofs by SMT, and seeded bugs that the tests must catch.

`formal` turns a block with properties into SMT2 and asks a solver; `proofs/` holds the properties, one block, one
file; `mutation` patches a block's source; `mutants` lists the bugs.
"""
