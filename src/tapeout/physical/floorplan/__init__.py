"""The floorplan of a chip at block level: dies, cores and what is in them, memory, links, package; to scale.

    plan = floorplan(spec)        # die.py: rectangles in mm, from the area model
    findings(plan)                # checks.py: edges, reticle, network on chip; `refuse` raises what cannot be laid out
    svg(plan), png(plan)          # picture.py: one picture, two forms
    gds(plan)                     # gds.py: layers and cells, through KLayout

Lengths are in mm, from the lower left corner.
"""

from tapeout.physical.floorplan.die import Floorplan, floorplan
from tapeout.physical.floorplan.shapes import Rectangle, overlapping

__all__ = ["Floorplan", "Rectangle", "floorplan", "overlapping"]
