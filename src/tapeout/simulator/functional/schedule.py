"""The order of sums that a program chooses and the bits depend on: `numerics.schedule`."""

from tapeout.numerics.schedule import Schedule

__all__ = ["Schedule"]
