"""Energy per operation from the toggles of mapped netlists, driven with operands of the demo model.

`physical.synthesis.operations` counts it, block by block; here are the blocks that the energy model takes its
figures from, and how they become quantities with ranges (wires, glitches and the clock's tree are estimates).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tapeout.chip.rtl.block import Block
from tapeout.physical.synthesis.flow import synthesise
from tapeout.physical.synthesis.operations import OperationEnergy, energies
from tapeout.physical.synthesis.pdk import Kit

ENERGY = "energy.toml"
VECTOR = ("add", "mul", "maximum", "exp2", "sigmoid", "reciprocal", "rsqrt")
NAMES = {
    "mxfp4 MAC": "mac.mxfp4", "mxint8 MAC": "mac.mxint8", "FP32 accumulate": "accumulate",
    "write": "bank.write", "read": "bank.read", **{f"FP32 {v}": f"vector.{v}" for v in VECTOR},
}  # fmt: skip


def blocks() -> tuple[Block, ...]:
    """The blocks whose operations are driven."""
    from tapeout.chip.rtl.dot_unit import DotUnit
    from tapeout.chip.rtl.fp32_add import Fp32Add
    from tapeout.chip.rtl.scratchpad import ScratchpadBank
    from tapeout.chip.rtl.vector_lane import VectorLane

    return (DotUnit(), DotUnit(("mxfp4",), 2), VectorLane(), Fp32Add(), ScratchpadBank(512, 32))


def measure_energies(kit: Kit, progress: Callable[[str], None] | None = None) -> list[OperationEnergy]:
    """Energies of the operations of every block, in the library of `kit`, at 1 GHz."""
    found: list[OperationEnergy] = []
    for block in blocks():
        for one in energies(block, synthesise(block, kit)):
            found.append(one)
            if progress is not None:
                progress(
                    f"{one.block} {one.operation}: {one.pj:.4g} pJ {one.per} ({one.low_pj:.4g}-{one.high_pj:.4g})"
                )
    return found


def energy_toml(found: Iterable[OperationEnergy], library: str) -> str:
    """The energies as a table of quantities. The unit for MXFP4 alone is `mac.mxfp4_alone`; what a bank's registers and
    check bits take is kept without the memory macro, whose energy is literature's."""
    sections: dict[str, list[str]] = {}
    for one in found:
        name = NAMES[one.operation]
        if name == "mac.mxfp4" and "mxint8" not in one.block:
            name = "mac.mxfp4_alone"
        macro = one.shares.get("memory macro", 0.0)
        value, low, high = (1000 * (x - macro) for x in (one.pj, one.low_pj, one.high_pj))
        section, _, key = name.rpartition(".")
        unit = "fJ"
        source = (
            f"toggles of {one.block} on the demo model's operands, {library.upper()} RVT 0.70 V typical, 1 GHz: "
            f"{1000 * (one.counted_pj - macro):.4g} fJ counted {one.per}, wires, glitches and clock tree estimated"
        )
        sections.setdefault(section or "unit", []).append(
            f'{key} = {{ value = {value:.4g}, low = {low:.4g}, high = {high:.4g}, unit = "{unit}", '
            f'confidence = "medium", origin = "synthesised", source = "{source}" }}'
        )
    lines = [
        f"# Energy per operation (a bank's: per byte, without its memory macro), {library.upper()} at 0.70 V.",
        "# Written by `python -m tapeout.physical.calibration`.",
    ]
    for name, rows in sections.items():
        lines += ["", f"[{name}]", *rows]
    return "\n".join(lines) + "\n"
