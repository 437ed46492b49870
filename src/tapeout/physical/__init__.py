"""Technology tables and what follows from them: area, power, yield, cost, floorplan, synthesis.

    view = shipped().nominal()          # or .low(), .high(), .sampled(u) for Monte-Carlo
    area(chips, view).total             # tapeout.physical.area: mm² of a die, by block
    energy(chips, view)                 # tapeout.physical.energy: joules per operation and byte
    thermal_design_power(chips, view)   # tapeout.physical.power
    unit_cost(chips, view).total        # tapeout.physical.cost: dollars of a good package
    check(spec)                         # raises what cannot be built, in words

`chips` is a ChipSpec or `tapeout.chip.designs.Designs`.
"""

from tapeout.physical.limits import check, feasible, limits, problems
from tapeout.physical.views import Tables, View, load, shipped

__all__ = ["Tables", "View", "check", "feasible", "limits", "load", "problems", "shipped"]
