"""The picture of a chip's floorplan on a page, in the page's colours."""

from __future__ import annotations

import hashlib

from tapeout.chip.spec import ChipSpec
from tapeout.physical.floorplan.die import floorplan
from tapeout.physical.floorplan.picture import svg
from tapeout.report.markup import Markup


def die_picture(spec: ChipSpec) -> Markup:
    """The SVG of `tapeout floorplan`, for a page: die, core and package to scale, with a key."""
    name = "fp" + hashlib.sha256(repr(spec).encode()).hexdigest()[:8]
    return Markup(svg(floorplan(spec), alone=False, prefix=name))
