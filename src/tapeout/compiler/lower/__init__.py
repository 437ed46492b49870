"""From a model to IR: a file for each kind of operator.

`context` is what they share; `entry` walks the model for one entry of the program.
"""
