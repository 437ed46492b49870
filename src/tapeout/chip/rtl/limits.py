"""Which ChipSpecs the RTL covers. A ChipSpec may say more: estimates are of chips that have no RTL, too."""

from __future__ import annotations

from tapeout.chip import spec
from tapeout.chip.isa.definition import WORD_BYTES
from tapeout.chip.isa.geometry import BLOCK_BYTES, Geometry
from tapeout.chip.rtl.matrix import FORMATS, ports_of
from tapeout.chip.rtl.vector_fetch import VectorFetch
from tapeout.errors import InputError, Phrase

AXI_BYTES = 128  # AXI4 has no wider data
SIDE = 64  # rows and columns: units are instances of their own in the Verilog of the engine
BANKS = 64  # the crossbar is written bank by bank and port by port
OUTSTANDING = 1024  # what a load asks for waits in a queue of registers
LANES = (4, 256)
WORDS = (8, 512)  # bytes of a word: a granule at least; the transposer holds 32 words in registers


def check_buildable(chip: spec.ChipSpec, where: object) -> None:
    """Raise InputError naming the first field that RTL cannot be made for, what it is and what it could be."""
    core = chip.core
    engine, pad = core.matrix, core.scratchpad

    def need(holds: bool, field: str, found: object, expected: str) -> None:
        if not holds:
            raise InputError(where, f"core.{field}", found, f"{expected}, for RTL")

    need(set(engine.formats) <= set(FORMATS), "matrix.formats", list(engine.formats), "mxfp4, mxint8 or both")
    need(engine.lanes == BLOCK_BYTES, "matrix.lanes", engine.lanes, f"{BLOCK_BYTES}, a block of the formats")
    need(engine.rows <= SIDE, "matrix.rows", engine.rows, f"at most {SIDE}")
    need(engine.columns <= SIDE, "matrix.columns", engine.columns, f"at most {SIDE}")
    lanes = core.vector_lanes
    fits = LANES[0] <= lanes <= LANES[1] and lanes & (lanes - 1) == 0
    need(fits, "vector_lanes", lanes, f"a power of two from {LANES[0]} to {LANES[1]}")
    need(pad.banks <= BANKS, "scratchpad.banks", pad.banks, f"at most {BANKS}")
    fits = WORDS[0] <= pad.word_bytes <= WORDS[1]
    need(fits, "scratchpad.word_bytes", pad.word_bytes, f"{WORDS[0]} to {WORDS[1]}")
    fits = WORD_BYTES <= core.port_bytes <= AXI_BYTES
    need(fits, "port_bytes", core.port_bytes, f"{WORD_BYTES} (an instruction) to {AXI_BYTES} (AXI4)")
    need(core.outstanding <= OUTSTANDING, "outstanding", core.outstanding, f"at most {OUTSTANDING}")
    size = pad.kibibytes * 1024
    need(size & (size - 1) == 0, "scratchpad.kibibytes", pad.kibibytes, "a power of two")
    widest = max(
        *(p.words for p in ports_of(Geometry.of(core))), VectorFetch(lanes, size, pad.word_bytes).words
    )
    need(
        widest <= pad.banks, "scratchpad.banks", Phrase(f"{pad.banks} banks of {pad.word_bytes} bytes"),
        f"at least {widest}: an access of the matrix or the vector engine takes that many words",
    )  # fmt: skip
