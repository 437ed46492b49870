"""Our timing against OpenSTA's, where it is installed: every endpoint's arrival, to the last digit it prints."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from libraries_for_tests import kit

from tapeout.chip.rtl.block import Block
from tapeout.chip.rtl.fp32_add import Fp32Add
from tapeout.chip.rtl.secded import SecdedDecode, SecdedEncode
from tapeout.physical.synthesis import gates, timing
from tapeout.physical.synthesis.flow import synthesise
from tapeout.physical.synthesis.netlist import Flat

pytestmark = pytest.mark.skipif(not shutil.which("sta"), reason="OpenSTA (Debian's opensta) is not installed")
DIGITS = 2  # what it prints unless told otherwise


def opensta(
    flat: Flat, library: str, folder: Path, clock_slew: float, load: float, how: str
) -> dict[str, float]:
    """Endpoint → arrival, in the library's unit of time."""
    (folder / "net.v").write_text(gates.structural(flat))
    (folder / "lib.lib").write_text(library)
    clocked = any(c.flip_flop for c in flat.types)
    (folder / "run.tcl").write_text(
        f"""read_liberty {folder}/lib.lib
read_verilog {folder}/net.v
link_design top
create_clock -name c -period 1000000 {"[get_ports clk]" if clocked else ""}
{f"set_clock_transition {clock_slew} [get_clocks c]" if clocked else ""}
foreach p [all_inputs] {{ if {{[get_property $p full_name] != "clk"}} {{ set_input_delay 0 -clock c $p }} }}
set_output_delay 0 -clock c [all_outputs]
set_load {load} [all_outputs]
report_checks -path_delay {how} -digits {DIGITS} -format end -group_count 100000
"""
    )
    out = subprocess.run(
        ["sta", "-no_splash", "-exit", str(folder / "run.tcl")], capture_output=True, text=True, timeout=300
    )
    assert "Error" not in out.stdout + out.stderr, out.stdout[-2000:] + out.stderr[-2000:]
    rows = re.findall(r"^(\S+) \([^)]*\) +(-?[\d.]+) +(-?[\d.]+) +(-?[\d.]+)", out.stdout, re.M)
    return {name: float(actual) for name, _, actual, _ in rows}


@pytest.mark.parametrize(
    "block", [Fp32Add(registered=False), SecdedDecode(), SecdedEncode()], ids=lambda b: b.module_name
)
@pytest.mark.parametrize("library", ["asap7", "gt2n", "sky130"])
def test_arrivals_are_opensta_s(block: Block, library: str, tmp_path: Path) -> None:
    """Arrivals of all endpoints; and its slack at registers has our setup and hold times in it."""
    one = kit(library)
    result = synthesise(block, one)
    flat, unit = result.flat, one.library.time_ps
    slew, load = 3 * unit if unit == 1 else 0.02 * unit, 2.0  # load: fF here
    file_load = load if library == "asap7" else load / 1000
    ours = timing.analyse(flat, clock_slew_ps=slew, output_ff=load)
    for how in ("max", "min"):
        theirs = opensta(flat, one.library.text, tmp_path, slew / unit, file_load, how)
        arrival = np.maximum(ours.from_register, ours.from_port) if how == "max" else ours.earliest
        names, outputs = gates.instance_names(flat), gates.port_names(flat)[1]
        want: dict[str, int] = {}
        for cell, pins, own in zip(flat.types, flat.pins, names, strict=True):
            if cell.flip_flop:
                assert cell.next_state
                d = list(cell.pins).index(cell.next_state.inputs[0])
                want |= {f"{n}/{list(cell.pins)[d]}": int(row[d]) for n, row in zip(own, pins, strict=True)}
        want |= outputs
        assert len(theirs) > 0.9 * len(want), (len(theirs), len(want))
        both = sorted(theirs.keys() & want.keys())
        assert len(both) == len(theirs)
        # OpenSTA's endpoint is the worse edge by slack: at an output that is the later, at a register either
        close = 0
        for name in both:
            edges = arrival[2 * want[name] : 2 * want[name] + 2] / unit
            error = np.abs(edges - theirs[name]).min()
            # its arithmetic has 24 bits: a value half-way between two last digits may go either way
            assert error <= 10.0**-DIGITS * 0.5 + abs(theirs[name]) * 1e-6, (name, edges, theirs[name])
            close += any(f"{e:.{DIGITS}f}" == f"{theirs[name]:.{DIGITS}f}" for e in edges)
        assert close >= 0.99 * len(both), (how, close, len(both))
