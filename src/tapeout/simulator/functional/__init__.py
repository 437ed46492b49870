"""What the chip computes, to the bit, as fast as this machine can: prefill and decode over real checkpoints.

    engine = Engine(model, checkpoint, plan="mxint8")
    sequence = engine.sequence()
    logits = engine.step([(sequence, prompt)])[0]

`engine` runs a step over any set of sequences; `weights` takes them from the checkpoint; `attention` and
`feed_forward` are the two halves of a layer; `cache` holds keys and values; `schedule` is the freedom a program
has in the order of sums; `sampling` chooses tokens; `generate` streams them.
"""

from tapeout.simulator.functional.engine import Engine, Sequence
from tapeout.simulator.functional.generate import generate
from tapeout.simulator.functional.sampling import Sampler
from tapeout.simulator.functional.schedule import Schedule

__all__ = ["Engine", "Sampler", "Schedule", "Sequence", "generate"]
