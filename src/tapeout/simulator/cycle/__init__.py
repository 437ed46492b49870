"""Time of a program, cycle by cycle, without its data: `simulate` gives a `Timeline`.

`native/` is the model, block by block as the RTL has them; `memory` what stands behind the port; `recorded` takes
data-dependent values from the executable ISA; `utilisation` tells where the cycles went.
"""

from tapeout.simulator.cycle.memory import Memory
from tapeout.simulator.cycle.simulate import Values, simulate
from tapeout.simulator.cycle.timeline import EngineTime, Timeline

__all__ = ["EngineTime", "Memory", "Timeline", "Values", "simulate"]
