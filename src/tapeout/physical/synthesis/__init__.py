"""Blocks through Yosys and a cell library: area, and the longest path between registers."""
