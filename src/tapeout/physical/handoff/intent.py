"""What tools of implementation read beside the RTL: clock and delays (SDC), power (UPF)."""

# ruff: noqa: E501 (commands stay on one line)

from __future__ import annotations

from tapeout.chip.spec import ChipSpec
from tapeout.physical.handoff.netlist import instances

UNCERTAINTY = {"setup": 0.05, "hold": 0.02}  # of a period: jitter, skew and margin before a clock tree exists
OUTSIDE = {"axi": 0.3, "s": 0.4, "other": 0.5}  # of a period, spent outside the core, by interface
PAD, HOST = "pad", "host"  # placed names in the core


def sdc(spec: ChipSpec, ports: dict[str, tuple[str, int]]) -> str:
    """One clock; delays by interface; what is static."""
    period = 1 / spec.clock_ghz
    lines = [
        f"# {spec.name}: core at {spec.clock_ghz:g} GHz. Times in ns, capacitances in pF.",
        "set_units -time ns -capacitance pF",
        f"create_clock -name clk -period {period:.4f} [get_ports clk]",
        f"set_clock_uncertainty -setup {UNCERTAINTY['setup'] * period:.4f} [get_clocks clk]",
        f"set_clock_uncertainty -hold {UNCERTAINTY['hold'] * period:.4f} [get_clocks clk]",
        f"set_clock_transition {0.03 * period:.4f} [get_clocks clk]",
        "# rst is synchronous to clk: it is timed as any input",
    ]
    groups: dict[tuple[str, str], list[str]] = {}
    for name, (direction, _) in ports.items():
        if name not in ("clk", "irq"):
            kind = "axi" if name.startswith("axi_") else "s" if name.startswith("s_") else "other"
            groups.setdefault((kind, direction), []).append(name)
    for (kind, direction), names in groups.items():
        share = OUTSIDE[kind] * period
        listed = " ".join(f"{n}[*]" if ports[n][1] > 1 else n for n in names)
        for corner, delay in (("max", share), ("min", 0.0)):
            lines.append(f"set_{direction}_delay -{corner} {delay:.4f} -clock clk [get_ports {{{listed}}}]")
    outputs = " ".join(f"{n}[*]" if w > 1 else n for n, (d, w) in ports.items() if d == "output")
    inputs = " ".join(f"{n}[*]" if w > 1 else n for n, (d, w) in ports.items() if d == "input" and n != "clk")
    lines += [
        f"set_load 0.01 [get_ports {{{outputs}}}]",
        f"set_input_transition {0.05 * period:.4f} [get_ports {{{inputs}}}]",
        "# irq is a level that the host takes back by a register: no cycle of its own",
        "set_false_path -to [get_ports irq]",
        "set_max_fanout 32 [current_design]",
        f"set_max_transition {0.25 * period:.4f} [current_design]",
    ]
    return "\n".join(lines) + "\n"


def upf(spec: ChipSpec, core: str) -> str:
    """Three domains of one core: the host's registers always on, the engines off between programs, the scratchpad on
    its own supply so that what it holds outlives the engines."""
    placed = [i.name for i in instances(core)]
    engines = [n for n in placed if n not in (PAD, HOST)]
    return f"""# {spec.name}: power intent of one core (IEEE 1801-2018). Each core of the chip is a scope of its own:
#   load_upf power/core.upf -scope <path of the core>
# sleep_engines, iso_engines, sleep_pad and iso_pad come from the chip's power manager, which is not in this package.
# Engines may be switched off when status.running is 0: between programs no register of theirs is needed, only those of
# `{HOST}` (always on) and what the scratchpad holds. The RTL has one synchronous reset: after power-up rst is given
# again, which clears the registers of `{HOST}` too; the scratchpad's words stay, since no memory is reset.
upf_version 3.0
create_power_domain PD_HOST -include_scope
create_power_domain PD_ENGINES -elements {{{" ".join(engines)}}}
create_power_domain PD_PAD -elements {{{PAD}}}

create_supply_port VDD
create_supply_port VSS
create_supply_net VDD
create_supply_net VSS
create_supply_net VDD_ENGINES
create_supply_net VDD_PAD
connect_supply_net VDD -ports VDD
connect_supply_net VSS -ports VSS
create_supply_set SS_HOST -function {{power VDD}} -function {{ground VSS}}
create_supply_set SS_ENGINES -function {{power VDD_ENGINES}} -function {{ground VSS}}
create_supply_set SS_PAD -function {{power VDD_PAD}} -function {{ground VSS}}
associate_supply_set SS_HOST -handle PD_HOST.primary
associate_supply_set SS_ENGINES -handle PD_ENGINES.primary
associate_supply_set SS_PAD -handle PD_PAD.primary

create_logic_port sleep_engines -direction in
create_logic_port iso_engines -direction in
create_logic_port sleep_pad -direction in
create_logic_port iso_pad -direction in

create_power_switch SW_ENGINES -domain PD_ENGINES -input_supply_port {{in VDD}} -output_supply_port {{out VDD_ENGINES}} \\
  -control_port {{sleep sleep_engines}} -on_state {{on in {{!sleep}}}} -off_state {{off {{sleep}}}}
create_power_switch SW_PAD -domain PD_PAD -input_supply_port {{in VDD}} -output_supply_port {{out VDD_PAD}} \\
  -control_port {{sleep sleep_pad}} -on_state {{on in {{!sleep}}}} -off_state {{off {{sleep}}}}

# zeros on every output: no request on AXI, no interrupt
set_isolation ISO_ENGINES -domain PD_ENGINES -applies_to outputs -clamp_value 0 -isolation_supply SS_HOST \\
  -isolation_signal iso_engines -isolation_sense high -location parent
set_isolation ISO_PAD -domain PD_PAD -applies_to outputs -clamp_value 0 -isolation_supply SS_HOST \\
  -isolation_signal iso_pad -isolation_sense high -location parent

add_power_state PD_HOST -state RUN {{-logic_expr {{SS_HOST == ON}}}}
add_power_state PD_ENGINES -state RUN {{-logic_expr {{SS_ENGINES == ON}}}} -state SLEEP {{-logic_expr {{SS_ENGINES == OFF}}}}
add_power_state PD_PAD -state RUN {{-logic_expr {{SS_PAD == ON}}}} -state SLEEP {{-logic_expr {{SS_PAD == OFF}}}}
create_pst CORE_STATES -supplies {{VDD VDD_ENGINES VDD_PAD}}
add_pst_state RUN -pst CORE_STATES -state {{ON ON ON}}
add_pst_state KEEP -pst CORE_STATES -state {{ON OFF ON}}
add_pst_state OFF -pst CORE_STATES -state {{ON OFF OFF}}
"""
